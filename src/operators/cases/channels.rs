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
    doc: "The first input gives the grid, the labels and the case's name. Scans of the other inputs are \
          resampled onto that grid through patient space, by linear interpolation, as `resample` does with a \
          `grid`: up to half a voxel beyond the outermost voxel centres the outermost voxels count, and \
          farther out is `fill`. Nothing is registered. A scan whose grid equals the first one's within 0.01 \
          mm is taken voxel for voxel. Voxels that only pad a DICOM scan (PixelPaddingValue) take no part in \
          interpolation; a new voxel whose nearest old voxel is padding is padding as well.\n\n\
          Scans belong to one case if they are of one study, or, with `pair = \"patient\"`, of one patient; \
          files in other formats than DICOM if their cases have the same name (`{case}` in `files`). Several \
          scans of one input in a study are refused as `SEVERAL_CANDIDATES`; a `where` at the source selects \
          the one that is meant. A scan in whose study the first input has none is a row `CHANNEL_ALONE` in \
          `rejects`. A case without a scan of another input is refused as `CHANNEL_MISSING`; with \
          `on_missing = \"zero\"` that channel is 0 everywhere instead, and a note in `cases` says so. A \
          scan that its own source refused counts as missing.\n\n\
          Positions of two scans can be compared only within one frame of reference (FrameOfReferenceUID). \
          Scans of different frames are refused as `FRAMES_DIFFER`, and so are files, which name no frame, \
          if their grids differ; with `frames = \"trusted\"` positions are taken as they are, which is right \
          after a registration.\n\n\
          Stages before this one see one channel each: a CT may be windowed and a PET normalised before both \
          are joined. Stages after it see all channels: intensities are changed channel by channel, each by \
          its own mean or percentiles, and grids are changed alike. `crop` with `above` keeps voxels that \
          are brighter in any channel; `statistics = \"archive\"` belongs before this stage. A `label` stage \
          may stand before this one, at the first input, or after it; labels are always those of the first \
          input's scans.\n\n\
          In samples channels lie one behind the other, `[C, D, H, W]`; in stacks and bags all slices of the \
          first channel come before all slices of the second. A model's card names the channels, and `infer` \
          refuses cases of others as `CHANNELS_DIFFER`. A change of one channel's files has only its own \
          case computed again.",
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
            "The names of the channels, in the order of the inputs; when they are left out, the names of the \
             inputs.",
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
            doc: "Whether all scans of a case must have one frame of reference, or one grid where files name \
                  no frame (`same`), or positions are compared without that check (`trusted`).",
        },
        Field {
            name: "pair",
            kind: FieldKind::Choice(&["study", "patient"]),
            default: Default::Json("\"study\""),
            role: Role::Semantic,
            doc: "Whether the scans of one study make a case, or those of one patient.",
        },
        Field {
            name: "fill",
            kind: FieldKind::Either(&[INTENSITY, FieldKind::List { of: &INTENSITY, len: None }]),
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "The intensity of voxels that the scan of another input does not cover, in the scale that \
                  it has at this stage. A list has one intensity for each of the other inputs: `[-1024.0, \
                  0.0]`.",
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
