//! Puts masks of one scan together: and, or, minus, exclusive or.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;

use crate::operators::registry::{Entry, MaskCombiner, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Failure, Mask};
use crate::voxels::grid::check_same_size;

/// Corners of two grids that lie nearer than this are the same.
const SAME_GRID_MM: f64 = 0.01;
/// Voxels that one task works on.
const CHUNK: usize = 1 << 16;

/// The declaration of the type `combine`.
pub static SPEC: Spec = Spec {
    name: "combine",
    section: Section::Operators,
    summary: "Combines several masks of a scan by and, or, minus or exclusive or.",
    doc: "The other inputs change the first one, voxel by voxel on the scan's original grid; a mask holds a \
          voxel if it has any label there.\n\n\
          | op | a voxel stays | its label |\n\
          | --- | --- | --- |\n\
          | `and` | where all inputs hold it | of the first input |\n\
          | `minus` | where the first holds it and no other does | of the first input |\n\
          | `or` | where any input holds it | of the first input that holds it |\n\
          | `xor` | where an odd number of inputs holds it | of the first input that holds it |\n\n\
          `and` and `minus` keep the labels of the first input. With `or` and `xor` labels are merged by \
          name: those of the first input keep their numbers, and labels that only other inputs have follow. \
          This keeps the lesions within a liver: `inputs = [\"lesions\", \"liver\"]`, `op = \"and\"`. A scan \
          for which one of the inputs has no mask gets none, as in `evaluate`; the reason is a row of that \
          input in `rejects`.",
    version: 1,
    inputs: &[
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
        Port { name: "others", accepts: &[Kind::Masks], many: true },
    ],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[Field {
        name: "op",
        kind: FieldKind::Choice(&["and", "or", "minus", "xor"]),
        default: Default::Required,
        role: Role::Semantic,
        doc: "The operation by which the other inputs change the first one.",
    }],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// How masks are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// The voxels that all masks hold.
    And,
    /// The voxels that any mask holds.
    Or,
    /// The voxels that the first mask alone holds.
    Minus,
    /// The voxels that an odd number of masks holds.
    Xor,
}

/// A combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Combine {
    /// The operation on the first mask and the others.
    pub op: Op,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let combine: Combine = crate::operators::read_config(config)?;
    Ok(Stage::Combine(Arc::new(combine)))
}

impl MaskCombiner for Combine {
    fn combine(&self, first: &Mask, others: &[Mask]) -> Result<Mask, Failure> {
        let geometry = first.labels.geometry();
        for other in others {
            check_same_size("a mask", geometry.size, other.labels.size())?;
            if !other.labels.geometry().same_grid(geometry, SAME_GRID_MM) {
                return Err(Failure::new(
                    "GRID_MISMATCH",
                    format!("masks on one grid expected, one more than {SAME_GRID_MM} mm off found"),
                    "all must come from the same series",
                ));
            }
        }
        let adds = matches!(self.op, Op::Or | Op::Xor);
        let Merged { names, tables } = if adds { Merged::new(first, others)? } else { Merged::first(first) };
        let mut output = (*first.labels).clone();
        output.voxels_mut().par_chunks_mut(CHUNK).enumerate().for_each(|(task, labels)| {
            for (place, label) in labels.iter_mut().enumerate() {
                let voxel = task * CHUNK + place;
                let found = others.iter().map(|other| other.labels.voxels()[voxel]);
                *label = self.label(*label, found, &tables);
            }
        });
        Ok(Mask { labels: Arc::new(output), label_names: names })
    }
}

impl Combine {
    /// The label of one voxel, from that of the first mask and those of the others.
    fn label(&self, first: u16, mut others: impl Iterator<Item = u16>, tables: &[Vec<u16>]) -> u16 {
        let kept = |stays: bool| if stays { first } else { 0 };
        match self.op {
            Op::And => kept(first != 0 && others.all(|label| label != 0)),
            Op::Minus => kept(first != 0 && others.all(|label| label == 0)),
            Op::Or | Op::Xor => {
                let (mut label, mut holders) = (first, usize::from(first != 0));
                for (other, table) in others.zip(tables).filter(|(other, _)| *other != 0) {
                    holders += 1;
                    if label == 0 {
                        label = table.get(usize::from(other)).copied().unwrap_or_default();
                    }
                }
                if self.op == Op::Or || holders % 2 == 1 { label } else { 0 }
            }
        }
    }
}

/// Labels of several masks, merged by name.
struct Merged {
    /// All names, those of the first mask in front.
    names: Arc<[String]>,
    /// The labels that each other mask's labels become; none where they play no part.
    tables: Vec<Vec<u16>>,
}

impl Merged {
    fn first(first: &Mask) -> Self {
        Self { names: Arc::clone(&first.label_names), tables: Vec::new() }
    }

    fn new(first: &Mask, others: &[Mask]) -> Result<Self, Failure> {
        check_named(first)?;
        let mut names = first.label_names.to_vec();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            places.entry(name.clone()).or_insert(place);
        }
        let mut tables = Vec::with_capacity(others.len());
        for other in others {
            check_named(other)?;
            let mut table = vec![0];
            for name in &*other.label_names {
                let place = *places.entry(name.clone()).or_insert_with(|| {
                    names.push(name.clone());
                    names.len() - 1
                });
                table.push(u16::try_from(place + 1).map_err(|_| {
                    Failure::new(
                        "TOO_MANY",
                        format!("at most {} labels expected, more found", u16::MAX),
                        "combine fewer masks, or masks with fewer labels",
                    )
                })?);
            }
            tables.push(table);
        }
        Ok(Self { names: names.into(), tables })
    }
}

/// Refuses voxels of a label without a name: what they become would not be known.
fn check_named(mask: &Mask) -> Result<(), Failure> {
    let highest = mask.labels.voxels().par_iter().with_min_len(CHUNK).copied().max().unwrap_or_default();
    let names = mask.label_names.len();
    if usize::from(highest) <= names {
        return Ok(());
    }
    Err(Failure::new(
        "LABEL_MISMATCH",
        format!("a mask with labels up to {names} expected, a voxel of label {highest} found"),
        "each label needs a name",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::{Geometry, LabelMap};

    fn mask(names: &[&str], voxels: &[u16]) -> Mask {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        Mask { labels, label_names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn combined(op: &str, masks: &[Mask]) -> Result<Mask, Failure> {
        let config = json!({ "op": op });
        let Ok(Stage::Combine(operator)) = build(config.as_object().unwrap()) else { panic!("an operator") };
        operator.combine(&masks[0], &masks[1..])
    }

    #[test]
    fn two_masks() {
        let masks = [mask(&["a", "b"], &[0, 0, 1, 1, 2, 2]), mask(&["c", "b"], &[0, 1, 0, 1, 0, 2])];
        let voxels = |op| combined(op, &masks).unwrap().labels.voxels().to_vec();
        assert_eq!(voxels("and"), [0, 0, 0, 1, 0, 2]);
        assert_eq!(voxels("minus"), [0, 0, 1, 0, 2, 0]);
        assert_eq!(voxels("or"), [0, 3, 1, 1, 2, 2]);
        assert_eq!(voxels("xor"), [0, 3, 1, 0, 2, 0]);
        assert_eq!(&*combined("and", &masks).unwrap().label_names, ["a", "b"]);
        assert_eq!(&*combined("or", &masks).unwrap().label_names, ["a", "b", "c"]);
    }

    #[test]
    fn three_masks() {
        let masks = [
            mask(&["a"], &[0, 1, 1, 0, 0, 1]),
            mask(&["b"], &[0, 0, 1, 1, 1, 1]),
            mask(&["b"], &[1, 0, 0, 1, 0, 1]),
        ];
        let voxels = |op| combined(op, &masks).unwrap().labels.voxels().to_vec();
        assert_eq!(voxels("and"), [0, 0, 0, 0, 0, 1]);
        assert_eq!(voxels("minus"), [0, 1, 0, 0, 0, 0]);
        assert_eq!(voxels("or"), [2, 1, 1, 2, 2, 1]);
        assert_eq!(voxels("xor"), [2, 1, 0, 0, 2, 1]);
    }

    #[test]
    fn an_empty_mask_and_a_full_one() {
        let masks = [mask(&["a"], &[0, 0]), mask(&["a"], &[1, 1])];
        let voxels = |op| combined(op, &masks).unwrap().labels.voxels().to_vec();
        assert_eq!(["and", "minus", "or", "xor"].map(voxels), [[0, 0], [0, 0], [1, 1], [1, 1]]);
    }

    #[test]
    fn masks_that_do_not_fit_are_refused() {
        let code = |op, masks: &[Mask]| combined(op, masks).unwrap_err().code;
        assert_eq!(code("and", &[mask(&["a"], &[1]), mask(&["a"], &[1, 1])]), "GRID_MISMATCH");
        let unnamed = [mask(&["a"], &[1]), mask(&["a"], &[2])];
        assert_eq!(code("or", &unnamed), "LABEL_MISMATCH");
        assert_eq!(combined("and", &unnamed).unwrap().labels.voxels(), [1]);
        let mut moved = mask(&["a"], &[1]);
        let geometry = Geometry { origin_mm: [1.0, 0.0, 0.0], ..moved.labels.geometry().clone() };
        moved.labels = Arc::new(LabelMap::new(geometry, vec![1]).unwrap());
        assert_eq!(code("minus", &[mask(&["a"], &[1]), moved]), "GRID_MISMATCH");
    }
}
