//! Operators that mend masks against SciPy and scikit-image (`make_masks.py` in `golden/operators`).

use std::sync::Arc;

use crate::golden::Golden;
use serde_json::{Value, json};
use tomoflow::connectors::{Geometry, LabelMap};
use tomoflow::operators::registry::{Registry, Stage};
use tomoflow::operators::value::Mask;

fn mended(golden: &Golden, input: &str, kind: &str, config: Value) -> Vec<u16> {
    let registry = Registry::builtin();
    let Ok(Stage::Mask(operator)) = (registry.get(kind).unwrap().build)(config.as_object().unwrap()) else {
        panic!("an operator on masks expected")
    };
    let spacing: [f64; 3] = golden.f64("spacing").try_into().unwrap();
    let geometry = Geometry::axis_aligned(golden.size(input), spacing);
    let labels = Arc::new(LabelMap::new(geometry, golden.u16(input)).unwrap());
    let mask = Mask { labels, label_names: ["a".to_owned(), "b".to_owned()].into() };
    operator.apply(&mask).unwrap().labels.voxels().to_vec()
}

#[test]
fn small_parts_go_as_with_scikit_image() {
    let golden = Golden::open("masks.safetensors");
    let spacing = golden.f64("spacing");
    let ml = 12.0 * spacing.iter().product::<f64>() / 1000.0;
    for neighbours in [6, 18, 26] {
        let expected = golden.u16(&format!("remove_small.{neighbours}"));
        for (min_ml, min_voxels) in [(Some(ml), None), (None, Some(12))] {
            let config = json!({
                "min_ml": min_ml, "min_voxels": min_voxels, "connectivity": neighbours, "labels": null,
            });
            assert_eq!(mended(&golden, "two", "remove_small", config), expected, "{neighbours}");
        }
    }
}

#[test]
fn holes_are_scipys() {
    let golden = Golden::open("masks.safetensors");
    for dims in [2, 3] {
        for neighbours in [6, 18, 26] {
            let config = json!({ "dims": dims, "connectivity": neighbours, "labels": null });
            let expected = golden.u16(&format!("fill_holes.{dims}.{neighbours}"));
            assert_eq!(mended(&golden, "one", "fill_holes", config), expected, "{dims} {neighbours}");
        }
    }
}

#[test]
fn closing_and_opening_are_scipys() {
    let golden = Golden::open("masks.safetensors");
    for kind in ["closing", "opening"] {
        let config = json!({ "radius_mm": golden.f64("radius")[0], "labels": null });
        assert_eq!(mended(&golden, "two", kind, config), golden.u16(kind), "{kind}");
    }
}
