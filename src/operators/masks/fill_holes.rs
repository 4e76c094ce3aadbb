//! Fills background that one label encloses.

use std::sync::Arc;

use rayon::prelude::*;

use super::neighbours::{CONNECTIVITY, LABELS, Meant, connectivity};
use crate::operators::registry::{Entry, MaskTransform, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Failure, Mask};
use crate::voxels::components::{Components, Connectivity, Run, components};

/// The declaration of the type `fill_holes`.
pub static SPEC: Spec = Spec {
    name: "fill_holes",
    section: Section::Operators,
    summary: "Fills the holes of masks, label by label.",
    doc: "A hole is a connected part of the background that does not reach the volume's border. The whole \
          hole becomes the label that encloses it; a hole that touches several labels, or a label that is \
          not among `labels`, stays. Voxels with a label are never changed. For a single label this is \
          SciPy's `binary_fill_holes`.\n\n\
          With `dims = 2` each slice is filled by itself (6 neighbours are 4 then, 18 and 26 are 8), so that \
          a part enclosed in its slice is a hole even if it is open to the next slice. A volume of one slice \
          has no holes with `dims = 3`, since all of it is border.",
    version: 1,
    inputs: &[Port { name: "masks", accepts: &[Kind::Masks], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "dims",
            kind: FieldKind::Integer { min: 2, max: 3 },
            default: Default::Json("3"),
            role: Role::Semantic,
            doc: "The number of dimensions that holes are looked for in: 3 for the volume, 2 for each slice.",
        },
        Field {
            default: Default::Json("6"),
            doc: "The number of neighbours that a voxel of the background is joined with: 6 (across faces), \
                  18 (also across edges) or 26 (also across corners). With more neighbours a hole is open \
                  through smaller gaps.",
            ..CONNECTIVITY
        },
        LABELS,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The holes that are filled.
#[derive(Clone, Debug, PartialEq)]
pub struct FillHoles {
    /// Whether each slice is filled by itself.
    pub by_slice: bool,
    /// The neighbours that connect voxels of the background.
    pub connectivity: Connectivity,
    /// The labels whose holes are filled.
    pub labels: Meant,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let by_slice = config.get("dims").and_then(serde_json::Value::as_u64) == Some(2);
    let (connectivity, labels) = (connectivity(config)?, Meant::read(config)?);
    Ok(Stage::Mask(Arc::new(FillHoles { by_slice, connectivity, labels })))
}

impl MaskTransform for FillHoles {
    fn keeps_names(&self) -> bool {
        true
    }

    fn apply(&self, mask: &Mask) -> Result<Mask, Failure> {
        let meant = self.labels.values(mask)?;
        let is_meant = |label: u16| meant.as_ref().is_none_or(|meant| meant.contains(&label));
        let mut output = (*mask.labels).clone();
        let [depth, height, width] = output.size();
        if self.by_slice {
            output.voxels_mut().par_chunks_mut((height * width).max(1)).for_each(|slice| {
                fill(slice, [1, height, width], self.connectivity, is_meant);
            });
        } else if depth > 1 {
            fill(output.voxels_mut(), [depth, height, width], self.connectivity, is_meant);
        }
        Ok(Mask { labels: Arc::new(output), label_names: Arc::clone(&mask.label_names) })
    }
}

/// What lies around a part of the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    /// Nothing was seen yet.
    Unknown,
    /// One label lies around it.
    Label(u16),
    /// The border lies around it, or several labels.
    Open,
}

impl Around {
    fn add(&mut self, label: u16) {
        *self = match *self {
            Self::Unknown => Self::Label(label),
            Self::Label(known) if known == label => *self,
            _ => Self::Open,
        };
    }
}

/// Fills the holes of a volume; one of one slice is taken as a plane, whose border are its four sides.
fn fill(
    labels: &mut [u16],
    size: [usize; 3],
    connectivity: Connectivity,
    is_meant: impl Fn(u16) -> bool + Sync,
) {
    let background: Vec<u16> = labels.par_iter().with_min_len(1 << 16).map(|&l| u16::from(l == 0)).collect();
    let found = components(&background, size, connectivity);
    drop(background);
    let around = enclosing(labels, size, connectivity, &found);
    found.paint(labels, |part| match around[part] {
        Around::Label(label) if is_meant(label) => Some(label),
        _ => None,
    });
}

/// Returns what lies around each part of the background.
fn enclosing(
    labels: &[u16],
    size: [usize; 3],
    connectivity: Connectivity,
    found: &Components,
) -> Vec<Around> {
    let [depth, height, width] = size;
    let mut around = vec![Around::Unknown; found.components.len()];
    let place = |run: &Run| [run.start / width / height, run.start / width % height, run.start % width];
    for (run, part) in found.runs() {
        let [d, h, w] = place(&run);
        let at_end = |at: usize, count: usize| at == 0 || at + 1 == count;
        if at_end(d, depth) && depth > 1 || at_end(h, height) || w == 0 || w + run.length == width {
            around[part] = Around::Open;
        }
    }
    for (run, part) in found.runs().filter(|(_, part)| around[*part] != Around::Open).collect::<Vec<_>>() {
        let [d, h, w] = place(&run);
        for (slice, row) in (d.saturating_sub(1)..depth.min(d + 2))
            .flat_map(|slice| (h.saturating_sub(1)..height.min(h + 2)).map(move |row| (slice, row)))
        {
            let Some(reach) = reach(connectivity, slice.abs_diff(d) + row.abs_diff(h)) else { continue };
            let from = (slice * height + row) * width;
            let across = from + w.saturating_sub(reach)..from + width.min(w + run.length + reach);
            for &label in labels[across].iter().filter(|label| **label != 0) {
                around[part].add(label);
            }
        }
    }
    around
}

/// Returns how far neighbours of a run lie beyond its ends, in a row that is `away` steps off; `None` when it
/// has none.
fn reach(connectivity: Connectivity, away: usize) -> Option<usize> {
    match (away, connectivity) {
        (0, _) | (1, Connectivity::Edges | Connectivity::Corners) | (2, Connectivity::Corners) => Some(1),
        (1, Connectivity::Faces) | (2, Connectivity::Edges) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::{Geometry, LabelMap};

    fn filled(config: serde_json::Value, size: [usize; 3], voxels: &[u16]) -> Vec<u16> {
        let labels =
            Arc::new(LabelMap::new(Geometry::axis_aligned(size, [1.0; 3]), voxels.to_vec()).unwrap());
        let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
        let mut all = json!({ "dims": 2, "connectivity": 6, "labels": null });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let Ok(Stage::Mask(operator)) = build(all.as_object().unwrap()) else { panic!("an operator") };
        operator.apply(&mask).unwrap().labels.voxels().to_vec()
    }

    #[test]
    fn one_label_fills_and_two_do_not() {
        let ring = [1, 1, 1, 1, 0, 1, 1, 1, 1];
        assert_eq!(filled(json!({}), [1, 3, 3], &ring), [1; 9]);
        let mixed = [1, 1, 1, 1, 0, 1, 1, 2, 1];
        assert_eq!(filled(json!({}), [1, 3, 3], &mixed), mixed);
        assert_eq!(filled(json!({ "labels": ["b"] }), [1, 3, 3], &ring), ring);
        assert_eq!(filled(json!({ "labels": ["a"] }), [1, 3, 3], &ring), [1; 9]);
    }

    #[test]
    fn an_island_in_a_hole_keeps_it_open() {
        let row = |middle: [u16; 3]| [1, middle[0], middle[1], middle[2], 1];
        let labels = [row([1; 3]), row([0; 3]), row([0, 2, 0]), row([0; 3]), row([1; 3])].concat();
        assert_eq!(filled(json!({}), [1, 5, 5], &labels), labels);
    }

    #[test]
    fn a_gap_at_a_corner_is_one_of_26_neighbours_alone() {
        let labels = [0, 1, 1, 1, 0, 1, 1, 1, 1];
        assert_eq!(filled(json!({}), [1, 3, 3], &labels), [0, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(filled(json!({ "connectivity": 26 }), [1, 3, 3], &labels), labels);
    }

    #[test]
    fn a_tube_is_open_in_the_volume_and_closed_in_its_slices() {
        let tube = [1, 1, 1, 1, 0, 1, 1, 1, 1].repeat(3);
        assert_eq!(filled(json!({ "dims": 3 }), [3, 3, 3], &tube), tube);
        assert_eq!(filled(json!({}), [3, 3, 3], &tube), [1; 27]);
        let mut box_ = vec![1; 27];
        box_[13] = 0;
        assert_eq!(filled(json!({ "dims": 3 }), [3, 3, 3], &box_), [1; 27]);
    }

    #[test]
    fn one_slice_is_all_border_in_the_volume() {
        let ring = [1, 1, 1, 1, 0, 1, 1, 1, 1];
        assert_eq!(filled(json!({ "dims": 3 }), [1, 3, 3], &ring), ring);
    }

    #[test]
    fn empty_full_and_single() {
        for dims in [2, 3] {
            let config = || json!({ "dims": dims });
            assert_eq!(filled(config(), [1, 2, 2], &[0; 4]), [0; 4]);
            assert_eq!(filled(config(), [2, 2, 1], &[1; 4]), [1; 4]);
            assert_eq!(filled(config(), [1, 1, 1], &[0]), [0]);
        }
    }
}
