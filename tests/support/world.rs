//! An archive and a pipeline that change at random, and a plain model of what follows from them.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dicom_core::{DataElement, Tag, VR};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tomoflow::engine::Options;
use tomoflow::engine::run;
use tomoflow::operators::registry::Registry;
use tomoflow::operators::spec::Spec;
use tomoflow::phantom::vs::{self, VsPhantom, Written};
use tomoflow::pipeline::{self, Plan};

use super::text::Rewrite as _;
use super::{Contents, THRESHOLD, Workplace, contents};

/// The number of series that there may be.
const SERIES: usize = 4;

/// A stage with a model from a file, beside the rest.
const WITH_MODEL: &str = r#"
[operators.segment]
type = "infer"
inputs = ["normal"]
model = { safetensors = "net.safetensors" }

[sinks.learned]
type = "delta"
inputs = ["segment"]
"#;

/// A second channel of each study, beside the rest.
const WITH_CHANNELS: &str = r#"
[sources.pet]
type = "dicom"
path = "archive"
where = { Modality = "PT" }

[operators.pet_volume]
type = "assemble"
inputs = ["pet"]

[operators.joined]
type = "channels"
inputs = ["volume", "pet_volume"]
names = ["mr", "pt"]
on_missing = "zero"

[operators.both]
type = "threshold"
inputs = ["joined"]
above = 100.0
channel = "pt"

[sinks.channels]
type = "delta"
inputs = ["both"]
"#;

/// Labels that are a series of images in the study, beside the rest.
const WITH_LABEL_SERIES: &str = r#"
[sources.painted]
type = "dicom_labels"
path = "archive"
where = { Modality = "OT" }
labels = { tumour = [1] }
background = [2]

[operators.painted_case]
type = "label"
inputs = ["volume", "painted"]

[operators.painted_scores]
type = "evaluate"
inputs = ["largest", "painted_case"]
metrics = ["dice"]

[sinks.painted_results]
type = "delta"
inputs = ["painted_scores"]
"#;

/// One slice of an archive: the series that it is of, and what was done to it.
#[derive(Clone, Debug)]
struct Slice {
    base: usize,
    place: usize,
    /// Whether it was moved to a second series.
    split: bool,
    path: PathBuf,
}

/// The settings that are declared beside the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    above: &'static str,
    metrics: &'static str,
    name: &'static str,
    memory: &'static str,
    filter: &'static str,
    version: u32,
}

/// A pipeline over an archive that changes.
pub struct World {
    folder: TempDir,
    phantom: VsPhantom,
    written: Vec<Written>,
    slices: Vec<Slice>,
    /// The copies of slices: they change nothing that runs.
    copies: Vec<PathBuf>,
    /// The series whose truth the outlines of each base series show, and how far it was moved.
    labels: BTreeMap<usize, (usize, usize)>,
    /// The base series whose outlines name no series: their frame of reference and their images say whose
    /// they are.
    nameless: BTreeSet<usize>,
    /// The base series whose patient has another number than their outlines'.
    renamed: BTreeMap<usize, String>,
    declared: Declared,
    /// The number that was added to the intensities of each base series with a second channel.
    seconds: BTreeMap<usize, usize>,
    /// How far the labels of each base series with a series of them were moved.
    painted: BTreeMap<usize, usize>,
    model: usize,
    touched: BTreeSet<PathBuf>,
    number: usize,
}

impl World {
    /// Makes a world of one series with its outlines.
    pub fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phantom = VsPhantom { series: SERIES, first: 0, seed, size: super::SIZE, ..VsPhantom::DEFAULT };
        let written = vs::write_archive(&phantom, &folder.path().join("all")).unwrap();
        fs::create_dir(folder.path().join("archive")).unwrap();
        let declared = Declared {
            above: "0.5",
            metrics: "[\"dice\", \"assd\", \"rve\"]",
            name: "bright",
            memory: "1 GiB",
            filter: "{ Modality = \"MR\" }",
            version: 0,
        };
        let mut world = Self {
            folder,
            phantom,
            written,
            slices: Vec::new(),
            copies: Vec::new(),
            labels: BTreeMap::new(),
            nameless: BTreeSet::new(),
            renamed: BTreeMap::new(),
            declared,
            seconds: BTreeMap::new(),
            painted: BTreeMap::new(),
            model: 0,
            touched: BTreeSet::new(),
            number: 0,
        };
        world.replace_model(0);
        world.add(0);
        world.second(0, 0);
        world.label(0, 0, 0);
        world
    }

    /// The settings that are declared now: when they differ from before, another plan must be opened.
    pub fn declared(&self) -> Declared {
        self.declared.clone()
    }

    /// Declares what was declared before.
    pub fn redeclare_as(&mut self, declared: &Declared) {
        self.declared = declared.clone();
    }

    /// The files that came, changed or went since this was cleared.
    pub fn touched(&mut self) -> &mut BTreeSet<PathBuf> {
        &mut self.touched
    }

    /// Makes one random change, and returns what it is called; none when the one drawn cannot be made now.
    pub fn change(&mut self, rng: &mut ChaCha8Rng) -> Option<&'static str> {
        let base = rng.random_range(0..SERIES);
        let there = self.slices.iter().any(|slice| slice.base == base);
        match rng.random_range(0..29) {
            0 | 1 if !there => {
                self.add(base);
                if rng.random_bool(0.3) {
                    self.drop_slice(base, rng);
                }
                Some("a series came")
            }
            2 if there && self.bases() > 1 => {
                self.remove_all(base);
                Some("a series was deleted")
            }
            3 => self.drop_slice(base, rng).then_some("a slice was deleted"),
            4 | 5 => self.late(base).then_some("a slice came late"),
            6 => self.rename(rng).then_some("a file was renamed"),
            7 => self.edit(base, rng, |_| {}).then_some("a file was touched"),
            8 => {
                let private = Tag(0x0009, 0x1001);
                let value = format!("note {}", rng.random_range(0..1000));
                let edit = move |object: &mut dicom_object::DefaultDicomObject| {
                    object.put(DataElement::new(Tag(0x0009, 0x0010), VR::LO, "ACME"));
                    object.put(DataElement::new(private, VR::LO, value.as_str()));
                };
                self.edit(base, rng, edit).then_some("a private tag was edited")
            }
            9 => self.copy(rng).then_some("a file was copied"),
            10 => self.copies.pop().map(|path| {
                fs::remove_file(&path).unwrap();
                self.touched.insert(path);
                "a copy was deleted"
            }),
            11 => self.split(base).then_some("a series was split or merged"),
            12 | 13 => {
                let moved = rng.random_range(0..3);
                self.label(base, base, moved);
                Some("outlines were drawn")
            }
            14 => self.withdraw(base).then_some("outlines were withdrawn"),
            15 => self.move_label(base, rng).then_some("outlines were moved to another series"),
            16 => {
                self.replace_model(1 - self.model);
                Some("the model was replaced")
            }
            17 | 18 => self.forget_series(base).then_some("outlines lost the name of their series"),
            19 => self.rename_patient(base, rng).then_some("a patient's number was corrected"),
            20 | 21 => {
                let added = rng.random_range(0..3);
                self.second(base, added).then_some("a second channel came or changed")
            }
            22 => self.withdraw_second(base).then_some("a second channel was withdrawn"),
            23 | 24 => {
                let moved = rng.random_range(0..3);
                self.paint(base, moved);
                Some("a series of labels came or changed")
            }
            25 => self.withdraw_painted(base).then_some("a series of labels was withdrawn"),
            _ => self.redeclare(rng),
        }
    }

    fn redeclare(&mut self, rng: &mut ChaCha8Rng) -> Option<&'static str> {
        let declared = &mut self.declared;
        let pick = |rng: &mut ChaCha8Rng, from: &[&'static str]| from[rng.random_range(0..from.len())];
        Some(match rng.random_range(0..6) {
            // The second threshold gives the masks of the first: what follows stays as it is.
            0 | 1 => {
                declared.above = pick(rng, &["0.5", "0.500000001", "0.6"]);
                "a threshold changed"
            }
            2 => {
                declared.metrics = pick(rng, &["[\"dice\", \"assd\", \"rve\"]", "[\"dice\"]"]);
                "metrics changed"
            }
            3 => {
                (declared.name, declared.memory) =
                    (pick(rng, &["bright", "light"]), pick(rng, &["1 GiB", "2 GiB"]));
                "a name and the memory changed"
            }
            4 => {
                declared.filter = pick(rng, &["{ Modality = \"MR\" }", "{ Modality = \"M*\" }"]);
                "a filter was written otherwise"
            }
            _ => {
                declared.version += 1;
                "an operator's code changed"
            }
        })
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn bases(&self) -> usize {
        self.slices.iter().map(|slice| slice.base).collect::<BTreeSet<_>>().len()
    }

    /// The options with which runs are made here.
    pub fn options(&self) -> Options {
        Options { threads: 2, ..Options::default() }
    }

    /// The pipeline as it is declared now.
    pub fn plan(&self, out: Option<&Path>) -> Plan {
        let Declared { above, metrics, name, memory, filter, version } = &self.declared;
        let text = THRESHOLD
            .rewrite("above = 0.5", &format!("above = {above}"))
            .rewrite("[\"dice\", \"assd\", \"rve\"]", metrics)
            .rewrite("\"bright\"", &format!("\"{name}\""))
            .rewrite(".bright]", &format!(".{name}]"))
            .rewrite("out = \"out\"", &format!("out = \"out\"\nmemory = \"{memory}\""))
            .rewrite("{ Modality = \"MR\" }", filter);
        let path = self.folder.path().join("pipeline.toml");
        fs::write(&path, text + WITH_MODEL + WITH_CHANNELS + WITH_LABEL_SERIES).unwrap();
        let overrides: Vec<String> =
            out.iter().map(|out| format!("pipeline.out={:?}", out.to_str().unwrap())).collect();
        let mut plan = pipeline::load(&path, &overrides, &Registry::builtin())
            .unwrap_or_else(|problems| panic!("{problems}"));
        for stage in plan.stages.iter_mut().filter(|stage| stage.spec.name == "threshold") {
            let spec = Spec { version: stage.spec.version + version, ..*stage.spec };
            stage.spec = Box::leak(Box::new(spec));
        }
        plan
    }

    /// The contents of the live tables.
    pub fn tables(&self) -> Contents {
        contents(&self.folder.path().join("out"))
    }

    /// The contents that a run from nothing makes of the archive and the pipeline as they are now.
    pub fn anew(&self) -> Contents {
        let out = tempfile::tempdir().unwrap();
        run(self.plan(Some(out.path())), &self.options(), &mut |_| {}).unwrap();
        contents(out.path())
    }

    /// The scans that the slices make: series, base, and which of its slices. A gap makes none.
    fn scans(&self) -> Vec<(String, usize, Vec<usize>)> {
        let mut scans = Vec::new();
        for base in 0..SERIES {
            for (split, places) in [false, true].into_iter().zip(self.parts(base)) {
                let whole = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
                if whole && !places.is_empty() {
                    scans.push((self.uid(base, split), base, places));
                }
            }
        }
        scans
    }

    /// The number of series that are accepted.
    pub fn accepted(&self) -> usize {
        self.scans().len()
    }

    /// What the labels of a scan depend on, if it has any.
    fn labelled(&self, uid: &str, base: usize, places: &[usize]) -> Option<String> {
        let label = self.labels.get(&base)?;
        if !self.nameless.contains(&base) {
            return (*uid == self.uid(base, false)).then(|| format!("{label:?}"));
        }
        if self.scans().iter().filter(|(_, other, _)| *other == base).count() == 1 {
            return Some(format!("{label:?} of its frame"));
        }
        // Outlines of two series in one frame belong to the one whose images they name.
        let (_, truth) = vs::case(&self.phantom, label.0);
        let drawn = places.iter().any(|place| truth.slice(*place).iter().any(|label| *label > 0));
        drawn.then(|| format!("{label:?} of its images"))
    }

    /// How far the labels were moved that a series has for a scan of these slices: it has all of its slices, and one patient.
    fn painted_on(&self, base: usize, places: &[usize]) -> Option<usize> {
        let whole = places.len() == self.written[base].slices.len() && !self.renamed.contains_key(&base);
        self.painted.get(&base).copied().filter(|_| whole)
    }

    /// The actions that must run, written out as what they depend on; `done` learns them.
    pub fn necessary(&self, done: &mut BTreeSet<String>) -> Vec<String> {
        let Declared { above, metrics, version, .. } = &self.declared;
        // Thresholds that no voxel lies between give the same masks.
        let level = if *above == "0.6" { "0.6" } else { "0.5" };
        let mut necessary = Vec::new();
        for (uid, base, places) in self.scans() {
            let scan = format!("{base}:{places:?}");
            let mut keys = vec![
                format!("threshold {scan} {above} version {version}"),
                format!("largest {scan} {level}"),
                format!("infer {scan} model {}", self.model),
            ];
            if let Some(whose) = self.labelled(&uid, base, &places) {
                keys.push(format!("evaluate {scan} {level} label {whose} on {base} {metrics}"));
            }
            if let Some(moved) = self.painted_on(base, &places) {
                keys.push(format!("evaluate {scan} {level} painted {moved} on {base}"));
            }
            // Nobody knows which of two series of one study is meant.
            if self.scans().iter().filter(|(_, other, _)| *other == base).count() == 1 {
                keys.push(format!("both {scan} with {:?} version {version}", self.seconds.get(&base)));
            }
            necessary.extend(keys.into_iter().filter(|key| done.insert(key.clone())));
        }
        necessary
    }
}

/// Two networks of one architecture with different weights, trained once for all tests.
pub fn models() -> &'static [Vec<u8>; 2] {
    static MODELS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    MODELS.get_or_init(|| {
        [3, 4].map(|seed| {
            let mut place = Workplace::trained();
            place.text = place.text.rewrite("seed = 3", &format!("seed = {seed}"));
            place.run();
            let artifacts = place.out().join("store/artifacts");
            let files = tomoflow::connectors::dicom::walk(&artifacts).unwrap();
            // A model is the one artifact that begins like a safetensors file: a length, then JSON.
            let model = files.iter().map(|file| fs::read(&file.path).unwrap());
            model.into_iter().find(|bytes| bytes.get(8..10) == Some(b"{\"")).unwrap()
        })
    })
}
