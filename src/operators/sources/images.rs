//! The source `images`: scans in files of other formats than DICOM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Geometry, Reject, Scan, imagefile};

use super::names::{FILES, Names, TABLE};
use crate::operators::cases::channels::{SAME_GRID_MM, check_names};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{
    CaseFile, Claim, FileSlice, FileSource, FoundScan, Layout, ScanSource, SliceFile, Unmet,
};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

/// The declaration of the type `images`.
pub static SPEC: Spec = Spec {
    name: "images",
    section: Section::Sources,
    summary: "Reads the NIfTI, MetaImage and NRRD files of a folder, each as a scan.",
    doc: "Each file (`.nii`, `.nii.gz`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`) is a scan; its name, or a table, \
          gives the name of its case. Grids are taken as the files have them, in any orientation, in LPS and \
          mm. The voxels of an `.mhd` or `.nhdr` must lie in a file of the same name beside it, so that a \
          change of them is noticed. Two files for one case are refused as `SEVERAL_FILES`; a file that \
          cannot be read is a row in `rejects`. A `.zip` or `.tar` is read as a folder. Links are followed, \
          under their own names; a link to another scan of the source does not count again. Two sources may \
          have cases of the same name: both count, and a note in `cases` names the source of each, unless \
          the operator `channels` joins them into one case.\n\n\
          With the field `channels` each scan is `[C, D, H, W]`. Either one NIfTI file holds all channels \
          along its fourth axis, in this order, as in the Medical Segmentation Decathlon; or each channel \
          has a file of its own, which `{channel}` in `files` tells apart: by the channel's name, or by its \
          place counted from `0000`, as in nnU-Net's `\"{case}_{channel}.nii.gz\"`. Files of channels that \
          are not listed are not read. A case without a file for a channel is refused as `CHANNEL_MISSING`, \
          a file with another number of volumes as `CHANNELS_DIFFER`, and channels on different grids as \
          `GRID_MISMATCH`: the operator `channels` brings such scans onto one grid.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[PATH, FILES, TABLE, MODALITY, CHANNELS],
};

/// The folder of a source of image files.
pub const PATH: Field = Field {
    name: "path",
    kind: FieldKind::Path,
    default: Default::Required,
    role: Role::Operational,
    doc: "The folder, `.zip` or `.tar` that holds the files, relative to the pipeline file.",
};

/// The modality, which such files do not say.
pub const MODALITY: Field = Field {
    name: "modality",
    kind: FieldKind::Text,
    default: Default::Json("\"\""),
    role: Role::Operational,
    doc: "The modality that tables show for these scans, as DICOM names it: `\"CT\"`.",
};

const CHANNELS: Field = Field {
    name: "channels",
    kind: FieldKind::List { of: &FieldKind::Text, len: None },
    default: Default::Absent,
    role: Role::SemanticLater,
    doc: "The names of the channels of each scan, in their order: `[\"FLAIR\", \"T1w\"]`.",
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A folder of scans.
#[derive(Clone, Debug)]
struct Images {
    path: PathBuf,
    names: Names,
    modality: Arc<str>,
    /// The names of the channels, none of scans of one.
    channels: Vec<String>,
}

impl Images {
    /// The place of the channel that a file holds, where each has its own.
    fn channel(&self, below: &Path) -> Option<usize> {
        let said = self.names.channel(below)?;
        let named = self.channels.iter().position(|name| *name == said);
        named.or_else(|| (0..self.channels.len()).find(|place| numbered(*place) == said))
    }

    /// A scan of which one file holds all channels.
    fn in_one_file(&self, files: &[CaseFile<'_>]) -> Result<FoundScan, Reject> {
        let (&[file], expected) = (files, self.channels.len()) else {
            return FoundScan::of_one_file(files, self.modality.clone());
        };
        let image = file.header.as_ref().map_err(Clone::clone)?;
        let found = image.volumes();
        if found != expected {
            let message = format!(
                "a volume for each of {expected} channels, {}, expected, {found} in one file found",
                self.channels.join(", ")
            );
            let hint = "`channels` names all volumes of a file in their order; where each has a file, `{channel}` in \
                        `files` tells them apart";
            return Err(Reject::new("CHANNELS_DIFFER", message, hint));
        }
        let slices = vec![FileSlice { file: 0, frame: 0 }];
        let found = FoundScan::new(image.grid, Layout::Volume, slices, self.modality.clone());
        Ok(self.noted(found, image.other_notes()))
    }

    /// The file of each channel, by its place among those of the case.
    fn places(&self, files: &[CaseFile<'_>]) -> Result<Vec<usize>, Reject> {
        let mut places: Vec<Option<usize>> = vec![None; self.channels.len()];
        for (number, file) in files.iter().enumerate() {
            let below = file.path.strip_prefix(&self.path).unwrap_or(file.path);
            let place = self.channel(below).and_then(|channel| places.get_mut(channel));
            if place.is_some_and(|place| place.replace(number).is_some()) {
                let message = "one file for a channel of a case expected, several found";
                let hint = "the pattern of `files` may leave one out, or name more of the path as `{case}`";
                return Err(Reject::new("SEVERAL_FILES", message, hint));
            }
        }
        let missing = self.channels.iter().zip(&places).filter(|(_, place)| place.is_none());
        let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
        if missing.is_empty() {
            return Ok(places.into_iter().flatten().collect());
        }
        let message = format!("a file for each channel expected, none for {}", missing.join(", "));
        let hint = "where channels may be missing, give each a source of its own, and let `channels` put them together \
                    with `on_missing = \"zero\"`";
        Err(Reject::new("CHANNEL_MISSING", message, hint))
    }

    /// A scan of which each channel has a file.
    fn in_files(&self, files: &[CaseFile<'_>]) -> Result<FoundScan, Reject> {
        let (mut slices, mut notes, mut first) = (Vec::new(), Vec::new(), None);
        for (name, number) in self.channels.iter().zip(self.places(files)?) {
            let Some(file) = files.get(number) else { continue };
            let image = FoundScan::of_one_file(&[*file], self.modality.clone())?;
            let grid = *first.get_or_insert(image.grid);
            if !Geometry::from(&image.grid).same_grid(&Geometry::from(&grid), SAME_GRID_MM) {
                let message =
                    format!("all channels on one grid expected, `{name}` on another than the first found");
                let hint = "give each channel a source of its own: the operator `channels` brings them onto one grid";
                return Err(Reject::new("GRID_MISMATCH", message, hint));
            }
            notes.extend(image.notes.iter().map(|note| format!("{name}: {note}")));
            slices.push(FileSlice { file: number, frame: 0 });
        }
        let Some(grid) = first else {
            return Err(Reject::new("CHANNEL_MISSING", "a file for each channel expected, none found", ""));
        };
        Ok(self.noted(FoundScan::new(grid, Layout::Volume, slices, self.modality.clone()), notes))
    }

    fn noted(&self, mut found: FoundScan, notes: Vec<String>) -> FoundScan {
        found.notes = notes;
        found.notes.push(format!("CHANNELS: {}", self.channels.join(", ")));
        found
    }

    /// Scans in the order of the channels, on the grid that was indexed.
    fn on(&self, grid: &Geometry, scans: Vec<Scan>) -> Result<Vec<Scan>, Reject> {
        let same = |scan: &Scan| scan.geometry().same_grid(grid, SAME_GRID_MM);
        if scans.len() != self.channels.len() || !scans.iter().all(same) {
            let message = "channels on the grid that was indexed expected, others found";
            return Err(Reject::new("CHANGED", message, "the next run reads the file again"));
        }
        let on_grid = |scan: Scan| {
            Scan::new(grid.clone(), scan.into_voxels())
                .map_err(|error| Reject::new("GRID_MISMATCH", error.to_string(), ""))
        };
        scans.into_iter().map(on_grid).collect()
    }
}

impl FileSource for Images {
    fn root(&self) -> &Path {
        &self.path
    }

    fn claim(&self, path: &Path) -> Option<Claim> {
        self.names.place(path.strip_prefix(&self.path).ok()?)
    }

    fn unmet(&self, there: &[&Path], of: usize) -> Vec<Unmet> {
        let below = there.iter().filter_map(|path| path.strip_prefix(&self.path).ok());
        self.names.unmet(below, of)
    }
}

impl ScanSource for Images {
    /// Judges one file to be one scan, or a file for each channel of it.
    fn judge(&self, _case: &str, files: &[CaseFile<'_>]) -> Vec<Result<FoundScan, Reject>> {
        vec![match (self.channels.is_empty(), self.names.say_channels()) {
            (true, _) => FoundScan::of_one_file(files, self.modality.clone()),
            (false, false) => self.in_one_file(files),
            (false, true) => self.in_files(files),
        }]
    }

    fn channel_names(&self) -> Vec<String> {
        self.channels.clone()
    }

    fn load_channels(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Vec<Scan>, Reject> {
        if self.channels.is_empty() {
            return self.load(grid, slices).map(|scan| vec![scan]);
        }
        let mut scans = Vec::with_capacity(self.channels.len());
        for file in slices {
            scans.extend(imagefile::read_scans(&file.path)?);
        }
        self.on(grid, scans)
    }

    fn load(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Scan, Reject> {
        let [file] = slices else {
            let hint = "it is looked for again at the next run";
            return Err(Reject::new("FILE_VANISHED", "one file expected", hint));
        };
        let scan = imagefile::read_scan(&file.path)?;
        if scan.geometry() != grid {
            let message = "a scan on the grid that was indexed expected, another found";
            return Err(Reject::new("CHANGED", message, "the next run reads the file again"));
        }
        Ok(scan)
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let channels = channels(config).map_err(|message| {
        let hint = "a scan of one channel needs no names: leave `channels` out";
        vec![FieldProblem::new("channels", message, hint)]
    })?;
    let names = if channels.is_empty() {
        Names::read(config)?
    } else {
        Names::read_channels(config, &words(&channels))?
    };
    let (path, modality) = (text(config, "path").into(), text(config, "modality").into());
    Ok(Stage::Scans(Arc::new(Images { path, names, modality, channels })))
}

/// A channel by its place, as nnU-Net has it: `0000`.
fn numbered(place: usize) -> String {
    format!("{place:04}")
}

/// Returns what files of channels may be called by: their names and their places.
pub fn words(channels: &[String]) -> Vec<String> {
    channels.iter().cloned().chain((0..channels.len()).map(numbered)).collect()
}

/// The names of the channels; none of scans of one.
fn channels(config: &Config) -> Result<Vec<String>, String> {
    let Some(listed) = config.get("channels").and_then(|names| names.as_array()) else {
        return Ok(Vec::new());
    };
    let names: Vec<String> = listed.iter().filter_map(|name| name.as_str()).map(str::to_owned).collect();
    if names.len() < 2 {
        return Err(format!("at least two channels expected, {} found", names.len()));
    }
    check_names(&names).map(|()| names)
}

/// A text of a checked configuration.
pub(super) fn text<'c>(config: &'c Config, field: &str) -> &'c str {
    config.get(field).and_then(|text| text.as_str()).unwrap_or_default()
}
