//! The painting itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::{Geometry, LabelMap};

use crate::operators::samples::things::Things;
use crate::operators::value::{Detections, Failure, Mask};

/// What is painted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Paint {
    /// The score that a box must exceed.
    pub score: f64,
    /// The kind of thing that each kind lies in.
    pub within: BTreeMap<String, String>,
}

impl Paint {
    /// The mask of a scan on its original grid.
    ///
    /// # Errors
    /// `NO_MASKS` for boxes without masks, `GRID_MISMATCH` for those of another grid, `UNKNOWN_LABEL` for a kind of thing
    /// that the detector does not know, `DAMAGED_ARTIFACT` for masks that do not fit the grid.
    pub fn paint(&self, found: &Detections, geometry: &Geometry) -> Result<Mask, Failure> {
        if found.size != geometry.size {
            let message = format!("boxes on a grid of {:?} expected, {:?} found", geometry.size, found.size);
            return Err(Failure::new("GRID_MISMATCH", message, "both must come from the same series"));
        }
        let Some(masks) = &found.masks else {
            let message = "boxes with masks expected, boxes alone found";
            return Err(Failure::new("NO_MASKS", message, "train the detector with `masks = true`"));
        };
        let names = found.things.names();
        let within = self.numbered(&names)?;
        let mut of_slices: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, own) in found.boxes.iter().enumerate().filter(|(_, own)| own.score > self.score) {
            of_slices.entry(own.slice).or_default().push(place);
        }
        let mut labels = LabelMap::zeros(geometry.clone());
        let area = (geometry.size[1] * geometry.size[2]).max(1);
        for (slice, mut places) in of_slices {
            let Some(plane) = labels.voxels_mut().chunks_mut(area).nth(slice as usize) else {
                return Err(damaged());
            };
            // The last one painted stays.
            places.sort_by(|a, b| {
                let (a, b) = (&found.boxes[*a], &found.boxes[*b]);
                let wide = |class| made_of(&found.things, class);
                wide(b.class).cmp(&wide(a.class)).then(a.score.total_cmp(&b.score))
            });
            let covered = self.covered(found, masks, &within, &places, area)?;
            for place in places {
                let class = found.boxes[place].class;
                let mut mine = vec![0_u16; area];
                masks.get(place).and_then(|mask| mask.decode(&mut mine, 1)).ok_or_else(damaged)?;
                let inside = within.get(&class).and_then(|outer| covered.get(outer));
                for (pixel, (label, _)) in
                    plane.iter_mut().zip(&mine).enumerate().filter(|(_, (_, own))| **own > 0)
                {
                    if inside.is_none_or(|inside| inside[pixel] > 0) {
                        *label = u16::from(class);
                    }
                }
            }
        }
        Ok(Mask { labels: Arc::new(labels), label_names: names.into() })
    }

    /// The kinds that others lie in, by their numbers.
    fn numbered(&self, names: &[String]) -> Result<BTreeMap<u8, u8>, Failure> {
        let number = |name: &String| {
            let place =
                names.iter().position(|own| own == name).and_then(|place| u8::try_from(place + 1).ok());
            place.ok_or_else(|| {
                let message = format!("one of the kinds {} expected, `{name}` found", names.join(", "));
                Failure::new("UNKNOWN_LABEL", message, "`within` names kinds of things of the detector")
            })
        };
        self.within.iter().map(|(inner, outer)| Ok((number(inner)?, number(outer)?))).collect()
    }

    /// The pixels of a slice that are of each kind which others lie in.
    fn covered(
        &self,
        found: &Detections,
        masks: &[tomoflow_connectors::RunLength],
        within: &BTreeMap<u8, u8>,
        places: &[usize],
        area: usize,
    ) -> Result<BTreeMap<u8, Vec<u16>>, Failure> {
        let mut covered: BTreeMap<u8, Vec<u16>> =
            within.values().map(|outer| (*outer, vec![0; area])).collect();
        for place in places {
            let Some(plane) = covered.get_mut(&found.boxes[*place].class) else { continue };
            masks.get(*place).and_then(|mask| mask.decode(plane, 1)).ok_or_else(damaged)?;
        }
        Ok(covered)
    }
}

/// Returns how many labels a kind of thing is made of.
fn made_of(things: &Things, class: u8) -> usize {
    let kind = usize::from(class).checked_sub(1).and_then(|place| things.0.get(place));
    kind.map_or(0, |kind| kind.labels.len())
}

fn damaged() -> Failure {
    let message = "a list of boxes does not read back: its masks do not fit the scan's grid";
    Failure::new("DAMAGED_ARTIFACT", message, "delete it; it is made again")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tomoflow_connectors::RunLength;

    use super::super::build;
    use super::*;
    use crate::operators::registry::Stage;
    use crate::operators::samples::things::Kind as OfThings;
    use crate::operators::spec::FieldProblem;
    use crate::operators::value::DetectedBox;

    fn built(config: Value) -> Result<Paint, Vec<FieldProblem>> {
        match build(config.as_object().unwrap())? {
            Stage::Paint(paint) => Ok(paint),
            _ => panic!("a painting expected"),
        }
    }

    /// Boxes on two slices of 2x4, each with its class, score and runs.
    fn found(boxes: &[(u32, u8, f64, &[u32])]) -> Detections {
        let kind = |name: &str, labels: &[&str]| OfThings {
            name: name.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let things =
            vec![kind("lesion", &["lesion"]), kind("liver", &["liver", "lesion"]), kind("cyst", &["cyst"])];
        let on = |&(slice, class, score, _): &(u32, u8, f64, &[u32])| DetectedBox {
            slice,
            class,
            score,
            low: [0.0; 2],
            high: [2.0; 2],
        };
        let masks = boxes.iter().map(|(.., runs)| RunLength(runs.to_vec())).collect();
        let boxes = boxes.iter().map(on).collect();
        Detections { size: [2, 2, 4], things: Things(things), boxes, masks: Some(masks) }
    }

    fn grid() -> Geometry {
        Geometry::axis_aligned([2, 2, 4], [1.0; 3])
    }

    #[test]
    fn lesions_stay_on_their_liver() {
        let boxes = found(&[
            (0, 1, 0.9, &[2, 2]),
            (0, 2, 0.6, &[0, 3, 4, 2]),
            (0, 2, 0.5, &[3, 1]),
            (1, 1, 0.7, &[5, 1]),
        ]);
        let paint = |config| built(config).unwrap().paint(&boxes, &grid()).unwrap();
        let plain = paint(json!({ "score": 0.5, "within": {} }));
        assert_eq!(plain.labels.voxels(), [2, 2, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(&plain.label_names[..], ["lesion", "liver", "cyst"]);
        let within = paint(json!({ "score": 0.5, "within": { "lesion": "liver" } }));
        assert_eq!(within.labels.voxels(), [2, 2, 1, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let less_sure = paint(json!({ "score": 0.4, "within": { "lesion": "liver" } }));
        assert_eq!(less_sure.labels.voxels()[..4], [2, 2, 1, 1]);
    }

    #[test]
    fn the_surer_of_two_kinds_has_a_pixel_that_both_have() {
        let boxes = found(&[(0, 3, 0.8, &[0, 2]), (0, 1, 0.7, &[1, 2])]);
        let painted = built(json!({ "score": 0.5, "within": {} })).unwrap().paint(&boxes, &grid()).unwrap();
        assert_eq!(painted.labels.voxels()[..4], [3, 3, 1, 0]);
    }

    #[test]
    fn what_cannot_be_painted_is_named() {
        let code = |paint: &Paint, found: &Detections| paint.paint(found, &grid()).unwrap_err().code;
        let paint = built(json!({ "score": 0.5, "within": { "lesion": "kidney" } })).unwrap();
        assert_eq!(code(&paint, &found(&[])), "UNKNOWN_LABEL");
        let paint = built(json!({ "score": 0.5, "within": {} })).unwrap();
        assert_eq!(code(&paint, &Detections { masks: None, ..found(&[]) }), "NO_MASKS");
        assert_eq!(code(&paint, &Detections { size: [1, 2, 4], ..found(&[]) }), "GRID_MISMATCH");
        for broken in [found(&[(0, 1, 0.9, &[7, 2])]), found(&[(2, 1, 0.9, &[0, 1])])] {
            assert_eq!(code(&paint, &broken), "DAMAGED_ARTIFACT");
        }
        let lost = Detections { masks: Some(Vec::new()), ..found(&[(0, 1, 0.9, &[0, 1])]) };
        assert_eq!(code(&paint, &lost), "DAMAGED_ARTIFACT");
        // Nothing was found: an empty mask.
        assert!(paint.paint(&found(&[]), &grid()).unwrap().labels.voxels().iter().all(|label| *label == 0));
        let itself = built(json!({ "score": 0.5, "within": { "liver": "liver" } })).err().unwrap();
        assert_eq!(itself[0].field, "within.liver");
    }
}
