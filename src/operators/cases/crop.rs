//! Cuts a case down to a box: of a size around its centre, a point or a label, or around what is bright.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::{Geometry, LabelMap, PatientPoint, Volume};

use super::cuboid::{Cuboid, LENGTHS_MM, SNAP, misfit};
use crate::operators::registry::{Axes, Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec, one_of,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::grid;

/// The declaration of the type `crop`.
pub static SPEC: Spec = Spec {
    name: "crop",
    section: Section::Operators,
    summary: "Crops scans and their labels to a box.",
    doc: "The box lies along the scan's own axes and holds whole voxels, so that nothing is interpolated. It \
          is either of `size_mm`, around the centre of the scan, the point `centre_mm`, or the label \
          `around`; or it is the smallest box that holds all voxels `above` an intensity, widened by \
          `margin_mm` as far as the scan goes. An axis along which the scan is shorter than `size_mm` stays \
          as it is. A box around a point or a label is moved inwards where it would pass the end of the \
          scan, so that it keeps its size; a scan that does not hold the point is refused as \
          `POINT_OUTSIDE`. Masks are brought back to the scan's original grid at the end; voxels that were \
          cut off are background there.\n\n\
          With `around` the middle of a label is the middle of its bounding box, so that a structure that \
          fits lies wholly within the box. Results then depend on the labels: a corrected outline leads to a \
          new mask, and a new scan, which has no labels, has no box and is refused as `NO_LABELS`; a scan \
          whose label has no voxel is refused as `EMPTY_LABEL`. This is for experiments in which the place \
          of a structure is known; a pipeline for new scans takes windows around labels only in training \
          (`patches`).",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "size_mm",
            kind: LENGTHS_MM,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The lengths of the box along `[D, H, W]`, in mm, rounded to whole voxels; either this or \
                  `above` is given.",
        },
        Field {
            name: "centre_mm",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: -100_000.0, max: 100_000.0, unit: "mm" },
                len: Some(3),
            },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The middle of a box of `size_mm`, `[x, y, z]` in patient space (LPS), in mm; when it is left out, the centre of the scan.",
        },
        Field::absent(
            "around",
            FieldKind::Text,
            Role::SemanticLater,
            "The name of the label in whose middle a box of `size_mm` lies: `around = \"tumour\"`.",
        ),
        Field {
            name: "above",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The intensity above which voxels are kept, in the scale that the input has (HU for an untouched CT).",
        },
        Field {
            name: "margin_mm",
            kind: FieldKind::Number { min: 0.0, max: 10_000.0, unit: "mm" },
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "The margin around the box of voxels `above`, in mm, rounded up to whole voxels.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A crop.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Crop {
    /// The lengths along `[D, H, W]`, in mm, around the centre; this or `above`.
    #[serde(default)]
    pub size_mm: Option<[f64; 3]>,
    /// The place in patient space where the middle of `size_mm` lies; the scan's centre when absent.
    #[serde(default)]
    pub centre_mm: Option<[f64; 3]>,
    /// The label in whose middle `size_mm` lies.
    #[serde(default)]
    pub around: Option<String>,
    /// The intensity above which voxels are kept.
    #[serde(default)]
    pub above: Option<f32>,
    /// The margin around voxels `above`, in mm.
    #[serde(default)]
    pub margin_mm: f64,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let crop: Crop = crate::operators::read_config(config)?;
    let given = [("size_mm", crop.size_mm.is_some()), ("above", crop.above.is_some())];
    one_of(given, "size_mm = [50, 100, 100], or above = -500 for a body in CT")?;
    if crop.centre_mm.is_some() && crop.size_mm.is_none() {
        let hint = "`above` places its box by itself: leave `centre_mm` out";
        return Err(vec![FieldProblem::new(
            "centre_mm",
            "`size_mm` alone expected beside `centre_mm`",
            hint,
        )]);
    }
    if crop.around.is_some() && (crop.size_mm.is_none() || crop.centre_mm.is_some()) {
        let found = if crop.centre_mm.is_some() { "`centre_mm`" } else { "`above`" };
        let message = format!("`size_mm` alone expected beside `around`, {found} found");
        let hint = "e.g. size_mm = [50, 50, 100], around = \"tumour\"";
        return Err(vec![FieldProblem::new("around", message, hint)]);
    }
    if crop.size_mm.is_some() && crop.margin_mm > 0.0 {
        let hint = "make `size_mm` larger";
        return Err(vec![FieldProblem::new(
            "margin_mm",
            "`above` expected beside `margin_mm`, none found",
            hint,
        )]);
    }
    Ok(Stage::Transform(Arc::new(crop)))
}

impl Crop {
    fn cuboid(&self, case: &Case) -> Result<Cuboid, Failure> {
        let scan = &case.scan;
        let geometry = scan.geometry();
        grid::check(geometry)?;
        let spacing = geometry.spacing_mm();
        if let Some(size_mm) = self.size_mm {
            let count = |axis: usize| (size_mm[axis] / spacing[axis]).round() as usize;
            let size = [0, 1, 2].map(|axis| count(axis).clamp(1, geometry.size[axis]));
            let start = match (self.centre_mm, &self.around) {
                (Some(point), _) => around(geometry, voxel_of(geometry, PatientPoint(point))?, size),
                (None, Some(label)) => around(geometry, middle(case, label)?, size),
                (None, None) => [0, 1, 2].map(|axis| ((geometry.size[axis] - size[axis]) / 2) as i64),
            };
            return Ok(Cuboid { start, size });
        }
        let above = self.above.unwrap_or(f32::NEG_INFINITY);
        let mut found = None;
        for channel in case.each_channel() {
            found = wider(found, bright(&channel, above)?);
        }
        let Some(found) = found else {
            return Err(Failure::new(
                "NO_FOREGROUND",
                format!("voxels brighter than {above} expected, none found"),
                "`above` is in the scale of the intensities at this stage: HU for an untouched CT",
            ));
        };
        let margin = spacing.map(|mm| (self.margin_mm / mm - SNAP).ceil().max(0.0) as usize);
        let first = [0, 1, 2].map(|axis| found[axis].0.saturating_sub(margin[axis]));
        let last =
            [0, 1, 2].map(|axis| found[axis].1.saturating_add(margin[axis]).min(geometry.size[axis] - 1));
        let size = [0, 1, 2].map(|axis| last[axis] - first[axis] + 1);
        Ok(Cuboid { start: first.map(|voxel| voxel as i64), size })
    }
}

/// The smallest box of all voxels of a channel that are brighter, but for those that only pad it.
fn bright(case: &Case, above: f32) -> Result<Option<Extent>, Failure> {
    let scan = &case.scan;
    let Some(padding) = &case.padding else { return Ok(bounding_box(scan, |value| value > above)) };
    grid::check_same_size("padding", scan.size(), padding.size())?;
    let bright = |(value, padded): (&f32, &u16)| u16::from(*value > above && *padded == 0);
    let bright = scan.voxels().iter().zip(padding.voxels()).map(bright).collect();
    let bright = LabelMap::new(scan.geometry().clone(), bright).map_err(misfit)?;
    Ok(bounding_box(&bright, |bright| bright != 0))
}

/// Returns where a box of so many voxels begins whose middle is as near to a place as whole voxels go, within
/// the grid.
fn around(geometry: &Geometry, voxel: [f64; 3], size: [usize; 3]) -> [i64; 3] {
    [0, 1, 2].map(|axis| {
        // The earlier one of two voxels is taken, as around the scan's centre.
        let start = (voxel[axis] - (size[axis] as f64 - 1.0) / 2.0 - 0.5 - SNAP).ceil();
        (start as i64).clamp(0, (geometry.size[axis] - size[axis]) as i64)
    })
}

/// Returns where a point lies among the voxels of a scan.
fn voxel_of(geometry: &Geometry, point: PatientPoint) -> Result<[f64; 3], Failure> {
    let outside = || {
        let [x, y, z] = point.0;
        Failure::new(
            "POINT_OUTSIDE",
            format!("a point within the scan expected, ({x}, {y}, {z}) mm found"),
            "`centre_mm` is [x, y, z] in LPS; from RAS the signs of x and y are turned",
        )
    };
    let voxel = geometry.to_voxel(point).ok_or_else(outside)?.0;
    let within = |axis: usize| {
        let end = geometry.size[axis] as f64 - 0.5;
        (-0.5 - SNAP..=end + SNAP).contains(&voxel[axis])
    };
    if (0..3).all(within) { Ok(voxel) } else { Err(outside()) }
}

/// The middle of a label's bounding box, in voxels.
fn middle(case: &Case, label: &str) -> Result<[f64; 3], Failure> {
    let labels = case.labels.as_ref().ok_or_else(|| {
        let message = format!("the label `{label}` to crop around expected, a scan without labels found");
        let hint = "a new scan has none: `centre_mm` or `above` crop it, `patches` has windows around labels";
        Failure::new("NO_LABELS", message, hint)
    })?;
    grid::check_same_size("labels", case.scan.size(), labels.size())?;
    let Some(place) = case.label_names.iter().position(|name| name == label) else {
        let message = format!("the label `{label}` expected, {} found", case.label_names.join(", "));
        return Err(Failure::new("LABEL_MISMATCH", message, "`around` names a label of the case's labels"));
    };
    let wanted = place as u16 + 1;
    let Some(found) = bounding_box(labels, |value| value == wanted) else {
        let message = format!("voxels of `{label}` to crop around expected, none found");
        let hint = "the structure may be missing in this case's labels, or lie between its slices";
        return Err(Failure::new("EMPTY_LABEL", message, hint));
    };
    Ok(found.map(|(first, last)| (first + last) as f64 / 2.0))
}

/// The first and the last voxel along each axis.
type Extent = [(usize, usize); 3];

/// The smallest box of voxels that are `within`.
fn bounding_box<T: Copy + Sync>(volume: &Volume<T>, within: impl Fn(T) -> bool + Sync) -> Option<Extent> {
    let [_, height, width] = volume.size();
    let in_slice = |(d, slice): (usize, &[T])| {
        let mut found: Option<Extent> = None;
        for (h, row) in slice.chunks_exact(width).enumerate() {
            let Some(first) = row.iter().position(|value| within(*value)) else { continue };
            let last = row.iter().rposition(|value| within(*value)).unwrap_or(first);
            found = wider(found, Some([(d, d), (h, h), (first, last)]));
        }
        found
    };
    volume.voxels().par_chunks_exact(height * width).enumerate().map(in_slice).reduce(|| None, wider)
}

fn wider(a: Option<Extent>, b: Option<Extent>) -> Option<Extent> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some([0, 1, 2].map(|axis| (a[axis].0.min(b[axis].0), a[axis].1.max(b[axis].1))))
}

impl Transform for Crop {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        self.cuboid(case)?.cut(case, 0.0)
    }

    /// Crops all channels to one box.
    fn apply_to_all(&self, case: &Case) -> Result<Case, Failure> {
        let cuboid = self.cuboid(case)?;
        case.channel_by_channel(|channel| cuboid.cut(channel, 0.0))
    }

    fn axes(&self) -> Axes {
        Axes::Kept
    }

    fn minds_padding(&self) -> bool {
        self.above.is_some()
    }

    fn around(&self) -> Option<&str> {
        self.around.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tomoflow_connectors::{LabelMap, Scan};

    use super::super::resample::labels_to_grid;
    use super::*;
    use crate::operators::spec::semantic;

    /// Oblique; each voxel has an intensity of its own. `labelled` says which voxels are of which label.
    fn case(size: [usize; 3], labelled: &[([usize; 3], u16)]) -> Case {
        let geometry = Geometry {
            size,
            origin_mm: [-20.0, 4.0, 9.0],
            steps_mm: [[0.0, 0.0, 2.0], [-0.6, 0.8, 0.0], [0.4, 0.3, 0.0]],
        };
        let mut labels = vec![0; geometry.voxels()];
        for ([d, h, w], label) in labelled {
            labels[(d * size[1] + h) * size[2] + w] = *label;
        }
        let voxels = (0..geometry.voxels()).map(|i| i as f32).collect();
        Case {
            channels: None,
            scan: Arc::new(Scan::new(geometry.clone(), voxels).unwrap()),
            labels: Some(Arc::new(LabelMap::new(geometry.clone(), labels).unwrap())),
            original: Arc::new(geometry),
            label_names: ["tumour".to_owned(), "cochlea".to_owned()].into(),
            padding: None,
        }
    }

    fn around(label: &str, size_mm: [f64; 3]) -> Crop {
        Crop { size_mm: Some(size_mm), around: Some(label.to_owned()), ..Crop::default() }
    }

    fn first(case: &Case, [_, height, width]: [usize; 3]) -> [usize; 3] {
        let number = case.scan.voxels()[0] as usize;
        [number / (height * width), number / width % height, number % width]
    }

    #[test]
    fn the_middle_is_that_of_the_bounding_box() {
        let size = [9, 10, 11];
        // Most of its voxels lie at one end: the centre of mass would be (3, 4.5, 2.5).
        let tail = [([2, 4, 2], 1), ([2, 4, 3], 1), ([2, 5, 2], 1), ([2, 5, 3], 1), ([6, 4, 2], 1)];
        let given = case(size, &[&tail[..], &[([0, 0, 0], 2)]].concat());
        // 2 mm, 1 mm and 0.5 mm: 3 x 2 x 4 voxels around (4, 4.5, 2.5).
        let found = around("tumour", [6.0, 2.0, 2.0]).apply(&given).unwrap();
        assert_eq!((found.scan.size(), first(&found, size)), ([3, 2, 4], [3, 4, 1]));
        let labels = found.labels.as_ref().unwrap();
        assert!(
            labels.geometry() == found.scan.geometry() && labels.voxels().iter().all(|label| *label == 0)
        );
        // Five slices hold both ends; the other label has a box of its own, which stays within the scan.
        let whole = around("tumour", [10.0, 2.0, 2.0]).apply(&given).unwrap();
        assert_eq!(whole.labels.unwrap().voxels().iter().filter(|label| **label == 1).count(), 5);
        let corner = around("cochlea", [6.0, 100.0, 2.0]).apply(&given).unwrap();
        assert_eq!((corner.scan.size(), first(&corner, size)), ([3, 10, 4], [0, 0, 0]));
    }

    #[test]
    fn what_was_cropped_returns_to_where_it_lay() {
        let given = case([9, 10, 11], &[([7, 8, 10], 1), ([6, 8, 9], 1)]);
        let found = around("tumour", [8.0, 4.0, 3.0]).apply(&given).unwrap();
        assert_eq!(found.scan.size(), [4, 4, 6]);
        let place = found.scan.geometry().to_patient(tomoflow_connectors::VoxelIndex([0.0; 3]));
        let start = given.scan.geometry().to_voxel(place).unwrap().0;
        assert!(start.iter().zip([5.0, 6.0, 5.0]).all(|(found, expected)| (found - expected).abs() < 1e-9));
        let back = labels_to_grid(found.labels.as_ref().unwrap(), &found.original).unwrap();
        assert_eq!(back.voxels(), given.labels.as_ref().unwrap().voxels());
    }

    #[test]
    fn a_label_that_is_not_there_is_refused_by_name() {
        let crop = around("tumour", [2.0; 3]);
        let empty = case([3, 3, 3], &[([1, 1, 1], 2)]);
        assert_eq!(crop.apply(&empty).unwrap_err().code, "EMPTY_LABEL");
        let unlabelled = Case { labels: None, label_names: [].into(), ..empty.clone() };
        let error = crop.apply(&unlabelled).unwrap_err();
        assert_eq!(error.code, "NO_LABELS");
        assert!(error.message.contains("`tumour`") && error.hint.contains("patches"), "{error:?}");
        let error = around("tumor", [2.0; 3]).apply(&empty).unwrap_err();
        assert_eq!(error.code, "LABEL_MISMATCH");
        assert!(error.message.contains("tumour, cochlea"), "{error:?}");
        let torn = Case { labels: case([2, 3, 3], &[]).labels, ..empty };
        assert_eq!(crop.apply(&torn).unwrap_err().code, "GRID_MISMATCH");
    }

    #[test]
    fn degenerate_cases_keep_a_voxel() {
        let one = case([1, 1, 1], &[([0, 0, 0], 1)]);
        assert_eq!(around("tumour", [0.01; 3]).apply(&one).unwrap().scan.size(), [1; 3]);
        let full: Vec<_> = (0..8).map(|i| ([i / 4, i / 2 % 2, i % 2], 1)).collect();
        let full = case([2, 2, 2], &full);
        assert_eq!(around("tumour", [500.0; 3]).apply(&full).unwrap().scan, full.scan);
    }

    #[test]
    fn a_label_goes_with_a_size_and_changes_no_other_key() {
        let config = |around: serde_json::Value, centre_mm: serde_json::Value, size_mm: serde_json::Value| {
            let above = if size_mm.is_null() { json!(3.0) } else { json!(null) };
            let config = json!({
                "size_mm": size_mm, "centre_mm": centre_mm, "around": around, "above": above, "margin_mm": 0.0,
            });
            config.as_object().unwrap().clone()
        };
        let (size, none) = (json!([1.0, 1.0, 1.0]), json!(null));
        let field = |config: Config| build(&config).err().map(|problems| problems[0].field.clone());
        assert_eq!(field(config(json!("tumour"), none.clone(), size.clone())), None);
        let both = config(json!("tumour"), json!([0.0, 0.0, 0.0]), size.clone());
        assert_eq!(field(both).as_deref(), Some("around"));
        assert_eq!(field(config(json!("tumour"), none.clone(), none.clone())).as_deref(), Some("around"));
        let before = json!({ "size_mm": size, "centre_mm": null, "above": null, "margin_mm": 0.0 });
        let kept = semantic(SPEC.fields, &config(none.clone(), none.clone(), size.clone()));
        assert_eq!(serde_json::Value::Object(kept), before);
        assert_ne!(serde_json::Value::Object(semantic(SPEC.fields, &config(json!("a"), none, size))), before);
    }
}
