//! A training on labels that hold others: learned as regions where that is asked for.

use std::fs;

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;

use crate::support::pipelines::{LEARNED, OF_FILES};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// An organ with a lesion in it, a little elsewhere in each case.
fn archive() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    let training = LEARNED.rewrite("learning_rate = 1e-2", "learning_rate = 1e-2\nregions = true");
    place.text = format!("{OF_FILES}{training}");
    let grid = Geometry::axis_aligned([4, 16, 16], [2.0, 1.0, 1.0]);
    for case in 0..4 {
        let class = |at: usize| {
            let (h, w) = (at / 16 % 16, at % 16);
            let within = |from: usize, to: usize| (from..to).contains(&h) && (from..to).contains(&w);
            u16::from(within(2 + case, 11 + case)) + u16::from(within(4 + case, 8 + case))
        };
        let value = |at: usize| f32::from(class(at)) * 100.0 + (at * 7 % 13) as f32;
        let folder = place.path().join(format!("data/s{case}"));
        fs::create_dir_all(&folder).unwrap();
        let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(value).collect()).unwrap();
        nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
        let labels = LabelMap::new(grid.clone(), (0..grid.voxels()).map(class).collect()).unwrap();
        nifti::write_labels(&folder.join("labels.nii"), &labels).unwrap();
    }
    place
}

#[test]
fn regions_are_trained_and_scored_alike() {
    let mut place = archive();
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    let dice = |label: &str, split: &str| -> Vec<f64> {
        let rows = place.metrics().into_iter().filter(|row| row.label == label && row.split == split);
        rows.filter_map(|row| row.value).collect()
    };
    let organs: Vec<f64> = ["train", "validation"].iter().flat_map(|split| dice("organ", split)).collect();
    assert!(organs.len() == 4 && organs.iter().all(|dice| *dice > 0.3), "{organs:?}");
    // What chose the epoch is what `evaluate` finds of the case that it was chosen by.
    let training = place.tables()["training"].clone();
    let figures = |name: &str| -> Vec<f64> {
        let rows = training.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        let named = rows.filter(|row| row.to_string().contains(&format!("\"{name}\"")));
        named.filter_map(|row| row["value"].as_f64()).collect()
    };
    let [found] = dice("organ", "validation")[..] else { panic!("one case expected") };
    assert!(
        figures("dice.organ").iter().any(|figure| (figure - found).abs() < 1e-6),
        "{found}: {training:?}"
    );
    assert_same(&place.tables(), &place.anew(), "regions");
    // As classes it is another model, and back again none is trained.
    place.text = place.text.rewrite("regions = true", "regions = false");
    assert_eq!(place.run().trained, 1);
    place.text = place.text.rewrite("regions = false\n", "");
    assert_eq!(place.run().actions_run, 0);
    place.text = place.text.rewrite("learning_rate = 1e-2", "learning_rate = 1e-2\nregions = true");
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn regions_of_labels_that_hold_none_are_refused_by_name() {
    let mut place = archive();
    place.text = place.text.rewrite("{ organ = [1, 2], lesion = [2] }", "{ organ = [1], lesion = [2] }");
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1), "{summary}");
    assert!(summary.to_string().contains("NO_REGIONS"), "{summary}");
}
