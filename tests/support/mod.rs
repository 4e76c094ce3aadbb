//! What the tests of whole runs share: a small archive, a pipeline over it, runs, and tables to compare.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub mod declared;
pub mod dicom;
pub mod pipelines;
pub mod probe;
pub mod process;
pub mod text;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tomoflow::connectors::LabelMap;
use tomoflow::connectors::table::{DeltaTable, MetricRow, Rows, Table, TableError, read_rows};
use tomoflow::engine::run;
use tomoflow::engine::{Options, Summary};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{self, VsPhantom, Written};
use tomoflow::pipeline::{self, Plan};

pub use pipelines::{THRESHOLD, TRAINED};

/// The size of a scan: small enough for seconds, large enough for a tumour.
pub const SIZE: [usize; 3] = [8, 32, 32];

/// A folder with an archive, a pipeline file, and what runs leave.
pub struct Workplace {
    folder: TempDir,
    /// The archive's settings; `series` is what was written at first.
    pub phantom: VsPhantom,
    /// The pipeline file's text.
    pub text: String,
}

impl Workplace {
    /// Makes an archive of so many series, and the pipeline [`THRESHOLD`].
    pub fn new(series: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phantom = VsPhantom { series, first: 0, seed: 11, size: SIZE, ..VsPhantom::DEFAULT };
        let place = Self { folder, phantom, text: THRESHOLD.to_owned() };
        fs::create_dir_all(place.archive()).unwrap();
        if series > 0 {
            vs::write_archive(&place.phantom, &place.archive()).unwrap();
        }
        place
    }

    /// Makes an archive of four series, and the pipeline that trains on them.
    pub fn trained() -> Self {
        // The sums on one thread are the same on every machine, and two threads would wait for each other
        // here.
        networks::set_threads(1);
        let mut place = Self::new(4);
        let (head, _) = THRESHOLD.split_once("[operators.bright]").unwrap();
        place.text = format!("{head}{TRAINED}");
        place
    }

    /// The folder below which everything lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the DICOM files.
    pub fn archive(&self) -> PathBuf {
        self.path().join("archive")
    }

    /// The folder of store and tables.
    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    /// The rows of `metrics`.
    pub fn metrics(&self) -> Vec<MetricRow> {
        match read_rows(&self.out().join("tables/metrics"), Table::Metrics).unwrap() {
            Rows::Metrics(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// The pipeline file, written anew from [`Workplace::text`].
    pub fn pipeline(&self) -> PathBuf {
        let path = self.path().join("pipeline.toml");
        // Another process may be reading it: it is there as a whole, or as it was.
        let staged = self.path().join("pipeline.toml.new");
        fs::write(&staged, &self.text).unwrap();
        fs::rename(staged, &path).unwrap();
        path
    }

    /// Adds series number `index`.
    pub fn add(&self, index: usize) -> Written {
        let one = VsPhantom { series: 1, first: index, ..self.phantom.clone() };
        vs::write_archive(&one, &self.archive()).unwrap().remove(0)
    }

    /// The files of series number `index`, as `add` wrote them (in a folder of their own).
    pub fn files_of(&self, index: usize) -> Vec<PathBuf> {
        let scratch = tempfile::tempdir().unwrap();
        let one = VsPhantom { series: 1, first: index, ..self.phantom.clone() };
        let written = vs::write_archive(&one, scratch.path()).unwrap().remove(0);
        let here = |path: &PathBuf| self.archive().join(path.file_name().unwrap());
        written.slices.iter().chain([&written.outlines]).map(here).collect()
    }

    /// The SeriesInstanceUID of series number `index`.
    pub fn phantom_series(&self, index: usize) -> String {
        let scratch = tempfile::tempdir().unwrap();
        let one = VsPhantom { series: 1, first: index, ..self.phantom.clone() };
        vs::write_archive(&one, scratch.path()).unwrap().remove(0).series_uid
    }

    /// Deletes series number `index`, outlines and all.
    pub fn delete(&self, index: usize) {
        for file in self.files_of(index) {
            fs::remove_file(file).unwrap();
        }
    }

    /// Replaces the outlines of series `index` by its truth, moved by `columns`.
    pub fn move_label(&self, index: usize, columns: usize) {
        let (_, truth) = vs::case(&self.phantom, index);
        let [_, _, width] = truth.size();
        let moved = truth.voxels().chunks(width).flat_map(|row| {
            let mut row = row.to_vec();
            row.rotate_right(columns % width);
            row
        });
        let labels = LabelMap::new(truth.geometry().clone(), moved.collect()).unwrap();
        vs::write_rtstruct(&self.phantom, index, &labels, &vs::STRUCTURES, &self.archive()).unwrap();
    }

    /// Runs the pipeline in this process.
    pub fn run(&self) -> Summary {
        self.run_with(&Options { threads: 2, ..Options::default() })
    }

    /// Runs the pipeline in this process, with options.
    pub fn run_with(&self, options: &Options) -> Summary {
        let plan =
            pipeline::load(&self.pipeline(), &[], &Registry::builtin()).unwrap_or_else(|p| panic!("{p}"));
        run(plan, options, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The contents of all tables that follow from the archive, as sorted JSON lines.
    pub fn tables(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        contents(&self.out())
    }

    /// The version of each table.
    pub fn versions(&self) -> BTreeMap<&'static str, u64> {
        Table::ALL
            .iter()
            .map(|&table| {
                let folder = self.out().join("tables").join(table.name());
                (table.name(), DeltaTable::open(&folder, table).unwrap().version())
            })
            .collect()
    }

    /// The pipeline with a registry of one's own.
    pub fn plan(&self, registry: &Registry) -> Plan {
        pipeline::load(&self.pipeline(), &[], registry).unwrap_or_else(|p| panic!("{p}"))
    }

    /// The contents that a run from nothing makes of the archive as it is now.
    pub fn anew(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        self.anew_in(&Registry::builtin())
    }

    /// The contents of [`Workplace::anew`], with a registry of one's own.
    pub fn anew_in(&self, registry: &Registry) -> BTreeMap<&'static str, BTreeSet<String>> {
        let out = tempfile::tempdir().unwrap();
        let out_text = format!("{:?}", out.path().to_str().unwrap());
        let overrides = [format!("pipeline.out={out_text}")];
        let plan = pipeline::load(&self.pipeline(), &overrides, registry).unwrap_or_else(|p| panic!("{p}"));
        run(plan, &Options { accept_empty: true, ..Options::default() }, &mut |_| {}).unwrap();
        contents(out.path())
    }
}

/// The rows of each table as JSON lines.
pub type Contents = BTreeMap<&'static str, BTreeSet<String>>;

/// The contents of the tables under an `out`, but for `runs`, which is about runs and not about data.
pub fn contents(out: &Path) -> Contents {
    let mut contents = BTreeMap::new();
    for &table in Table::ALL.iter().filter(|&&table| table != Table::Runs) {
        let rows = match read_rows(&out.join("tables").join(table.name()), table) {
            // The table of boxes is there where a stage gives these.
            Err(TableError::Absent { .. }) if table == Table::Detections => Rows::empty(table),
            rows => rows.unwrap(),
        };
        contents.insert(table.name(), lines(&rows));
    }
    contents
}

/// Fails with the rows that only one side has.
pub fn assert_same(live: &Contents, anew: &Contents, when: &str) {
    for (table, rows) in anew {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        let (extra, absent) = (only(&live[table], rows), only(rows, &live[table]));
        assert!(
            extra.is_empty() && absent.is_empty(),
            "{when}, {table}: extra {extra:#?}\nabsent {absent:#?}"
        );
    }
}

/// Rows as sorted JSON lines.
pub fn lines(rows: &Rows) -> BTreeSet<String> {
    macro_rules! each {
        ($rows:expr) => {
            $rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect()
        };
    }
    match rows {
        Rows::Cases(rows) => each!(rows),
        Rows::Rejects(rows) => each!(rows),
        Rows::Masks(rows) => each!(rows),
        Rows::Metrics(rows) => each!(rows),
        Rows::Summary(rows) => each!(rows),
        Rows::Training(rows) => each!(rows),
        Rows::Runs(rows) => each!(rows),
        Rows::Detections(rows) => each!(rows),
    }
}

/// The number of actions that a stage ran.
pub fn ran(summary: &Summary, stage: &str) -> usize {
    summary.stages.get(stage).map_or(0, |count| count.run)
}
