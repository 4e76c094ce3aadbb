//! Windows, levels and batches are those of nnU-Net 2.8.1's planner, for fingerprints of our making.

use serde_json::Value;
use tomoflow::init::planning::{Configuration, Fingerprint};

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn same(name: &str, found: &Configuration, wanted: &Value) {
    let near = |a: &[f64], b: Vec<f64>| {
        assert_eq!(a.len(), b.len(), "{name}");
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs()), "{name}: {a:?} {b:?}");
    };
    near(&found.spacing_mm, numbers(&wanted["spacing"]));
    near(&found.median, numbers(&wanted["median"]));
    assert_eq!(found.patch, numbers::<Vec<usize>>(&wanted["patch_size"]), "{name}");
    assert_eq!(found.topology.kernels, numbers::<Vec<Vec<usize>>>(&wanted["kernels"]), "{name}");
    assert_eq!(found.topology.strides, numbers::<Vec<Vec<usize>>>(&wanted["strides"]), "{name}");
    assert_eq!(found.features, numbers::<Vec<usize>>(&wanted["features"]), "{name}");
    assert_eq!(found.batch, numbers::<usize>(&wanted["batch_size"]), "{name}");
}

#[test]
fn plans_are_those_of_nnunet() {
    let golden: Vec<Value> = serde_json::from_str(include_str!("../golden/planning/plans.json")).unwrap();
    assert!(golden.len() >= 60);
    let (mut volumes, mut anisotropic) = (0, 0);
    for (number, wanted) in golden.iter().enumerate() {
        let fingerprint = Fingerprint {
            spacings_mm: numbers(&wanted["spacings"]),
            sizes: numbers(&wanted["shapes"]),
            classes: numbers(&wanted["classes"]),
        };
        let planned = fingerprint.plan(numbers(&wanted["gigabytes"])).unwrap();
        let name = format!("plan {number}");
        assert_eq!(planned.transpose, numbers::<[usize; 3]>(&wanted["transpose"]), "{name}");
        let volume = &wanted["configurations"]["3d_fullres"];
        assert_eq!(planned.volume.is_some(), !volume.is_null(), "{name}");
        if let Some(found) = &planned.volume {
            same(&name, found, volume);
            volumes += 1;
        }
        same(&name, &planned.slice, &wanted["configurations"]["2d"]);
        anisotropic += usize::from(planned.anisotropic);
    }
    assert!(volumes >= 50 && anisotropic >= 6, "{volumes} volumes, {anisotropic} anisotropic");
}
