//! Self-contained HTML pages: about what a pipeline's tables hold, and about what an archive holds.

mod archive;
mod axis;
mod comparison;
mod distributions;
mod figures;
mod froc;
mod heat;
mod html;
mod outline;
mod overview;
mod pictures;
mod pooled;
mod slice;
mod training;
mod workers;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tomoflow_connectors::RunLength;
use tomoflow_connectors::table::{
    CaseRow, MetricRow, RejectRow, Rows, RunRow, SummaryRow, Table, TableError, TrainingRow, read_rows,
};

pub use archive::{ArchiveContents, ArchiveRow, CodeGroup, RefusedExample};
pub use comparison::{Compared, Comparison, Paired, Question, Standing, System};
use html::{count, figure, number, seconds};

use crate::engine::{GoneWorkers, WorkerStatus, is_remark};
use crate::metrics::Statistics;

/// What the page shows beside the tables.
#[derive(Clone, Debug, Default)]
pub struct ReportContext {
    /// The pipeline's name, for the title.
    pub pipeline_name: String,
    /// Some cases to look at, at most six of which are shown.
    pub cases: Vec<CasePicture>,
    /// The workers that took part in the last run and were there last.
    pub workers: Vec<WorkerStatus>,
    /// The workers that took part in the last run and are gone.
    pub gone: GoneWorkers,
}

/// One slice of a case, with what was drawn on it.
#[derive(Clone, Debug)]
pub struct CasePicture {
    /// The case's key.
    pub case: String,
    /// The reason why it is shown: `worst Dice, 0.41`, …
    pub caption: String,
    /// Rows of the slice.
    pub rows: usize,
    /// Columns of the slice.
    pub columns: usize,
    /// Distance of neighbouring rows, mm.
    pub spacing_h_mm: f64,
    /// Distance of neighbouring columns, mm.
    pub spacing_w_mm: f64,
    /// Grey values, row-major, windowed to 0..=255.
    pub pixels: Vec<u8>,
    /// The label drawn by hand.
    pub truth: Option<RunLength>,
    /// The label that the model found.
    pub prediction: Option<RunLength>,
    /// Maps of the slice, each shown in colours over the image.
    pub heats: Vec<HeatMap>,
    /// Boxes on the slice.
    pub boxes: Vec<BoxPicture>,
}

/// A box on a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxPicture {
    /// Edges along rows and columns at the lower ends, in pixels: the first pixel begins at 0.
    pub low: [f64; 2],
    /// The edges at the upper ends.
    pub high: [f64; 2],
    /// How sure the model is; none of a thing of the truth.
    pub score: Option<f64>,
}

/// A map over a slice.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// The name of the map: `entropy`, `attention`, …
    pub name: String,
    /// Row-major shares, 0 to 254 for 0 to 1, and 255 where nothing is known.
    pub shares: Vec<u8>,
}

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A case's picture cannot be drawn.
    #[error("case {case}: {expected} expected, {found} found\nhint: run the pipeline again")]
    Picture {
        /// The case's key.
        case: String,
        /// What a picture has.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// A stage or a system was named that has no figures.
    #[error(
        "no figures of `{name}`: one of the {kind} {known} expected\nhint: `evaluate` makes figures, and only of cases with labels; `--split all` counts every case"
    )]
    System {
        /// What was named.
        name: String,
        /// What it should be one of.
        kind: &'static str,
        /// The names that are known.
        known: String,
    },
    /// The page could not be written.
    #[error("{}: could not be written: {source}\nhint: check the folder's permissions and the free space", path.display())]
    Io {
        /// The page.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl ReportError {
    fn system<'a>(name: &str, kind: &'static str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let known = if known.is_empty() { "(none)".to_owned() } else { known.join(", ") };
        Self::System { name: name.to_owned(), kind, known }
    }
}

/// Writes the page about the Delta tables below `tables` (one folder each, absent ones left out) to `out`.
///
/// The page needs no network and runs no script; everything that comes from a table is escaped. It is
/// written beside its place and renamed.
///
/// # Errors
/// When a table or the page cannot be read or written, or a picture does not fit its own size.
pub fn write(tables: &Path, out: &Path, context: ReportContext) -> Result<(), ReportError> {
    put(&Contents::read(tables)?.page(&context)?, out)
}

/// Writes a page beside its place and renames it.
fn put(page: &str, out: &Path) -> Result<(), ReportError> {
    let failed = |source| ReportError::Io { path: out.to_owned(), source };
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(".part");
    let beside = out.with_file_name(name);
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(page.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, out).map_err(failed)
}

/// The rows that the page is about.
#[derive(Default)]
struct Contents {
    cases: Vec<CaseRow>,
    rejects: Vec<RejectRow>,
    metrics: Vec<MetricRow>,
    training: Vec<TrainingRow>,
    summary: Vec<SummaryRow>,
    runs: Vec<RunRow>,
}

impl Contents {
    fn read(tables: &Path) -> Result<Self, ReportError> {
        let mut contents = Self::default();
        let tables_of =
            [Table::Cases, Table::Rejects, Table::Metrics, Table::Training, Table::Summary, Table::Runs];
        for table in tables_of {
            match read_rows(&tables.join(table.name()), table) {
                Ok(Rows::Cases(rows)) => contents.cases = rows,
                Ok(Rows::Rejects(rows)) => contents.rejects = rows,
                Ok(Rows::Metrics(rows)) => contents.metrics = rows,
                Ok(Rows::Training(rows)) => contents.training = rows,
                Ok(Rows::Runs(rows)) => contents.runs = rows,
                // What is pooled stands there alone: the page sums up all other figures itself.
                Ok(Rows::Summary(rows)) => contents.summary = rows,
                // Masks and boxes have no part in the page; a table that nobody wrote yet has no rows.
                Ok(Rows::Masks(_) | Rows::Detections(_)) | Err(TableError::Absent { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(contents)
    }

    fn page(&self, context: &ReportContext) -> Result<String, ReportError> {
        let mut runs: Vec<&RunRow> = self.runs.iter().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.started));
        let last = runs.first().map_or("No run is recorded.".to_owned(), |run| {
            let end = if run.finished { "took" } else { "was interrupted after" };
            format!(
                "The last run started {} and {end} {}.",
                overview::moment(&run.started.to_string()),
                seconds(run.seconds)
            )
        });
        let main = [
            format!("<div class=tiles>{}</div>", self.tiles()),
            figures::metrics(&self.metrics),
            pooled::pooled(&self.summary),
            froc::froc(&self.summary),
            self.comparison(),
            pictures::pictures(&context.cases)?,
            training::training(&self.training),
            overview::cases(&self.cases),
            overview::rejects(&self.rejects),
            overview::runs(&runs),
            workers::workers(&context.workers, &context.gone),
        ];
        Ok(html::page(&context.pipeline_name, "report", &last, &main.concat(), ""))
    }

    /// The section that compares several stages with figures of the test split; empty for one alone.
    fn comparison(&self) -> String {
        let question = Question { split: "test".to_owned(), ..Question::default() };
        match Comparison::of(&self.metrics, &question) {
            Ok(comparison) if comparison.has_several() => comparison.section(),
            // One system has no other beside it, and without figures the section above says so.
            _ => String::new(),
        }
    }

    /// The figures in large type.
    fn tiles(&self) -> String {
        let labelled = self.cases.iter().filter(|case| case.labelled).count();
        let models: std::collections::BTreeSet<&str> =
            self.metrics.iter().map(|row| row.model.as_str()).filter(|model| !model.is_empty()).collect();
        let mut tiles = vec![
            overview::tile(&count(self.cases.len()), "cases", &format!("{} labelled", count(labelled))),
            overview::tile(&count(self.refused()), "rejects", &self.share_of_rejects()),
            overview::tile(&count(models.len()), "models judged", ""),
            overview::tile(&count(self.runs.len()), "runs", ""),
        ];
        tiles.splice(0..0, self.dice());
        tiles.concat()
    }

    /// Counts the rows of what was refused or failed, as opposed to what sources lack.
    fn refused(&self) -> usize {
        self.rejects.iter().filter(|row| !is_remark(&row.code)).count()
    }

    fn share_of_rejects(&self) -> String {
        let all = self.cases.len() + self.refused();
        if all == 0 {
            return String::new();
        }
        format!(
            "{} % of what was found",
            number((1000.0 * self.refused() as f64 / all as f64).round() / 10.0)
        )
    }

    /// The median Dice of the test split, where there is one.
    fn dice(&self) -> Option<String> {
        let rows: Vec<&MetricRow> =
            self.metrics.iter().filter(|row| row.metric == "dice" && row.split == "test").collect();
        let summary = Statistics::of(rows.iter().filter_map(|row| figures::value(row)))?;
        let n = summary.sorted.len();
        let without = match rows.len() - n {
            0 => String::new(),
            without => format!(", {} without one", count(without)),
        };
        let remark = format!("of {} figures, split test{without}", count(n));
        Some(overview::tile(&figure(summary.median()), "median Dice", &remark))
    }
}
