//! Several scans of a patient to one case: its channels, on the grid of the first.

pub mod join;

use std::collections::BTreeSet;

pub use join::{Fill, Frames, JoinChannels, OnMissing, Other, Pair, SAME_GRID_MM};

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `channels`.
pub static SPEC: Spec = Spec {
    name: "channels",
    section: Section::Operators,
    summary: "Joins several scans of a patient into one case `[C, D, H, W]` with named channels.",
    doc: "The first input gives the grid, the labels and the case's name; scans of the other inputs are brought onto \
          that grid through patient space, linear between voxels, as by `resample` with a `grid`: within half a \
          voxel of the outermost centres these count, farther out lies `fill`. Nothing is registered. A scan whose \
          grid is the first's within 0.01 mm is taken voxel for voxel. Nothing is interpolated with voxels that only \
          pad a DICOM scan (PixelPaddingValue): a new voxel whose nearest one does is padding.\n\n\
          Scans are of one case when they are of one study, or with `pair = \"patient\"` of one patient; of files in \
          other formats than DICOM when their cases have one name (`{case}` in `files`). More than one scan of an \
          input in a study is refused as `SEVERAL_CANDIDATES`: a `where` at its source says which is meant. Of the \
          input that gives the grid there must be one: a scan without it is a row `CHANNEL_ALONE` in `rejects`. A \
          case without a scan of another input is refused as `CHANNEL_MISSING`, or with `on_missing = \"zero\"` that \
          channel is 0 everywhere, which a note of the case in `cases` says. A scan that its own source refused \
          counts as missing.\n\n\
          Positions are those of one patient at one time only within a frame of reference \
          (FrameOfReferenceUID). Scans of different frames, and files, which say none, on different grids are refused \
          as `FRAMES_DIFFER`; with `frames = \"trusted\"` their positions are taken as they are, as after a \
          registration.\n\n\
          Stages before this one see one channel each: a CT may be windowed and a PET normalised before both are put \
          together. Stages after it see all: intensities are changed channel by channel, each by its own mean or \
          percentiles, and grids alike. `crop` with `above` keeps what is brighter in any channel; `statistics = \
          \"archive\"` belongs before this stage. Labels may be bound before, to the first input, or after: they are \
          those of the first input's scans.\n\n\
          In samples channels lie one behind the other, `[C, D, H, W]`; in stacks and bags all slices of the first \
          channel come before all slices of the second. A model's card names the channels, and `infer` refuses cases \
          of others as `CHANNELS_DIFFER`. One change of a channel's files redoes its case and no other.",
    version: 1,
    inputs: &[
        Port { name: "first", accepts: &[Kind::Scan, Kind::Case], many: false },
        Port { name: "others", accepts: &[Kind::Scan], many: true },
    ],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field::absent(
            "names",
            FieldKind::List { of: &FieldKind::Text, len: None },
            Role::Semantic,
            "The names of the channels, in the order of the inputs; when they are left out, those of the inputs.",
        ),
        Field {
            name: "on_missing",
            kind: FieldKind::Choice(&["reject", "zero"]),
            default: Default::Json("\"reject\""),
            role: Role::Semantic,
            doc: "What happens to a case without a scan of one of the other inputs: it is refused as `CHANNEL_MISSING`, \
                  or the channel is 0 everywhere.",
        },
        Field {
            name: "frames",
            kind: FieldKind::Choice(&["same", "trusted"]),
            default: Default::Json("\"same\""),
            role: Role::Semantic,
            doc: "Whether scans must be of one frame of reference, or on one grid where files say none; or whether \
                  positions are taken as they are.",
        },
        Field {
            name: "pair",
            kind: FieldKind::Choice(&["study", "patient"]),
            default: Default::Json("\"study\""),
            role: Role::Semantic,
            doc: "Whether scans of one study are one case, or those of one patient.",
        },
        Field {
            name: "fill",
            kind: FieldKind::Either(&[INTENSITY, FieldKind::List { of: &INTENSITY, len: None }]),
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "The intensity where another channel's scan does not reach, in the scale that it has at this stage; a \
                  list has one for each of the other inputs: `[-1024.0, 0.0]`.",
        },
    ],
};

const INTENSITY: FieldKind = FieldKind::Number { min: -1e9, max: 1e9, unit: "" };

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let join: JoinChannels = crate::operators::read_config(config)?;
    match join.names.as_deref().map_or(Ok(()), check_names) {
        Ok(()) => Ok(Stage::Channels(join)),
        Err(message) => {
            let hint = "names = [\"t1\", \"flair\"], one for each input";
            Err(vec![FieldProblem::new("names", message, hint)])
        }
    }
}

/// Whether channels are told apart by their names.
///
/// # Errors
/// What is wrong with them.
pub fn check_names(names: &[String]) -> Result<(), String> {
    if let Some(name) = names.iter().find(|name| name.trim().is_empty()) {
        return Err(format!("a name for each channel expected, {name:?} found"));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("each channel with a name of its own expected, `{name}` comes twice")),
        None => Ok(()),
    }
}
