//! Masks from a network's probabilities and the scan's intensities: a dense conditional random field.

mod field;

pub use field::Crf;

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Field, FieldKind, FieldProblem, Kind, Output, Port, Section, Spec,
};

const LENGTH: FieldKind = FieldKind::Number { min: 1e-3, max: 1000.0, unit: "mm" };
const WEIGHT: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "" };

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "crf",
    section: Section::Operators,
    summary: "Refines a network's probabilities by the scan's intensities into masks, with a dense \
              conditional random field.",
    doc: "The inputs are the masks of an `infer` with `keep = [\"probabilities\"]`, which has the \
          probabilities kept beside them, and the scan. The operator works on the grid that the scan has at \
          this stage: probabilities are brought onto it by linear interpolation, and the mask is brought \
          back to the scan's original grid. Two voxels with different labels cost\n\n\
          `appearance · exp(−|Δx|² / 2 appearance_mm² − |ΔI|² / 2 contrast²) + smoothness · exp(−|Δx|² / 2 \
          smoothness_mm²)`\n\n\
          where `|Δx|` is their distance in mm and `|ΔI|` the difference of their intensities over all \
          channels; the defaults are made for intensities after `zscore`. Each voxel gets the label that is \
          most likely after `iterations` rounds of mean field, and the lower one of equally likely labels. \
          Only pairs at most `reach` voxels apart along each axis count (the sums are truncated); otherwise \
          nothing is approximated. A label does not grow farther than `reach` voxels beyond the voxels for \
          which the network gave a probability. Probabilities are stored in steps of 1/254, and none counts \
          as less than half a step.\n\n\
          The sums over neighbours are not divided by their number, so that smaller voxels, which have more \
          neighbours within the same distance, give them more weight.\n\n\
          Source: Krähenbühl and Koltun, NeurIPS 2011, arXiv 1210.5644; between a network's rounds of \
          learning from its own masks: Bai et al., MICCAI 2017.",
    version: 1,
    inputs: &[
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
        Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false },
    ],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field::semantic(
            "appearance",
            WEIGHT,
            "5.0",
            "The weight of the appearance term, for neighbours of similar intensity.",
        ),
        Field::semantic(
            "appearance_mm",
            LENGTH,
            "10.0",
            "The standard deviation of the distance in the appearance term, in mm.",
        ),
        Field::semantic(
            "contrast",
            FieldKind::Number { min: 1e-6, max: 1e6, unit: "" },
            "0.5",
            "The standard deviation of the intensity difference in the appearance term, in the scan's units.",
        ),
        Field::semantic(
            "smoothness",
            WEIGHT,
            "3.0",
            "The weight of the smoothness term, for neighbours of any intensity.",
        ),
        Field::semantic(
            "smoothness_mm",
            LENGTH,
            "3.0",
            "The standard deviation of the distance in the smoothness term, in mm.",
        ),
        Field::semantic(
            "iterations",
            FieldKind::Integer { min: 1, max: 100 },
            "5",
            "The number of rounds of mean field, in each of which every voxel takes its neighbours' \
             probabilities into account.",
        ),
        Field::semantic(
            "reach",
            FieldKind::Integer { min: 1, max: 20 },
            "5",
            "The greatest distance at which two voxels count as neighbours, in voxels along each axis.",
        ),
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    crate::operators::read_config(config).map(Stage::Crf)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tomoflow_connectors::{Geometry, Scan};

    use super::*;
    use crate::operators::value::Case;
    use crate::voxels::planes::UNKNOWN;

    fn crf(changes: serde_json::Value) -> Crf {
        let mut config = json!({
            "appearance": 5.0, "appearance_mm": 10.0, "contrast": 0.5, "smoothness": 0.0, "smoothness_mm": 3.0,
            "iterations": 5, "reach": 3,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let Ok(Stage::Crf(crf)) = build(config.as_object().unwrap()) else { panic!("an operator") };
        crf
    }

    fn case(geometry: &Geometry, voxels: Vec<f32>) -> Case {
        let scan = Arc::new(Scan::new(geometry.clone(), voxels).unwrap());
        Case {
            channels: None,
            scan,
            labels: None,
            original: Arc::new(geometry.clone()),
            label_names: Arc::from([]),
            padding: None,
        }
    }

    #[test]
    fn a_ragged_mask_takes_the_shape_of_what_is_bright() {
        // A bright block; the network is sure of half of it, and of a bit beyond it.
        let geometry = Geometry::axis_aligned([1, 12, 20], [1.0; 3]);
        let inside = |i: usize| (3..9).contains(&(i / 20)) && (4..14).contains(&(i % 20));
        let voxels: Vec<f32> = (0..240).map(|i| if inside(i) { 2.0 } else { 0.0 }).collect();
        let guess = |i: usize| match (i / 20, i % 20) {
            (3..9, 4..11) => 240,
            (6, 14..16) => 180,
            (_, 11..14) if inside(i) => 90,
            _ => 0,
        };
        let shares = vec![(0..240).map(guess).collect::<Vec<u8>>()];
        let found = crf(json!({})).refine(&case(&geometry, voxels), &shares).unwrap();
        let expected: Vec<u16> = (0..240).map(|i| u16::from(inside(i))).collect();
        assert_eq!(found.voxels(), expected);
    }

    #[test]
    fn without_weights_it_is_what_the_network_says_and_ties_go_to_the_lower_label() {
        let geometry = Geometry::axis_aligned([1, 1, 5], [1.0; 3]);
        let none = crf(json!({ "appearance": 0.0, "smoothness": 0.0 }));
        let shares = vec![vec![0, 127, 100, 0, 84], vec![0, 0, 100, 254, 85]];
        let found = none.refine(&case(&geometry, vec![0.0; 5]), &shares).unwrap();
        // 84, 85 and the background's 85 of 254.
        assert_eq!(found.voxels(), [0, 0, 1, 2, 0]);
    }

    #[test]
    fn nothing_found_stays_nothing_and_labels_grow_no_farther_than_they_reach() {
        let geometry = Geometry::axis_aligned([1, 1, 12], [1.0; 3]);
        let flat = case(&geometry, vec![1.0; 12]);
        let found = crf(json!({})).refine(&flat, &[vec![0; 12]]).unwrap();
        assert!(found.voxels().iter().all(|label| *label == 0));
        let mut shares = vec![0; 12];
        shares[..3].fill(254);
        let strong = crf(json!({ "appearance": 1000.0, "reach": 2, "iterations": 20 }));
        let found = strong.refine(&flat, &[shares]).unwrap();
        assert!(found.voxels()[5..].iter().all(|label| *label == 0), "{:?}", found.voxels());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let geometry = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
        let code = |voxels: [f32; 3], shares: &[u8]| {
            crf(json!({})).refine(&case(&geometry, voxels.to_vec()), &[shares.to_vec()]).unwrap_err().code
        };
        assert_eq!(code([0.0, f32::NAN, 1.0], &[0, 9, 9]), "NOT_FINITE");
        assert_eq!(code([0.0; 3], &[0, UNKNOWN, 9]), "NOT_FINITE");
        assert_eq!(code([0.0; 3], &[0, 9]), "BAD_GRID");
    }
}
