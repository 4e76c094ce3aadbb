//! Resampling as a whole: geometry in patient space, masks on their way back, and inputs that are broken.

use std::sync::Arc;

use proptest::prelude::*;
use tomoflow::connectors::{Geometry, LabelMap, Scan, VoxelIndex};
use tomoflow::operators::cases::resample::{Resample, labels_to_grid};
use tomoflow::operators::registry::Transform;
use tomoflow::operators::value::Case;
use tomoflow::voxels::grid::{Convention, Order};

const CONVENTIONS: [Convention; 3] = [Convention::Monai, Convention::Nnunet, Convention::Torchio];

fn resample(spacing_mm: [f64; 3], convention: Convention) -> Resample {
    Resample::to_spacing(spacing_mm, convention, Order::Linear)
}

fn case(geometry: Geometry, scan: Vec<f32>, labels: Option<Vec<u16>>) -> Case {
    Case {
        channels: None,
        scan: Arc::new(Scan::new(geometry.clone(), scan).unwrap()),
        labels: labels.map(|labels| Arc::new(LabelMap::new(geometry.clone(), labels).unwrap())),
        original: Arc::new(geometry),
        label_names: ["a".to_owned()].into(),
        padding: None,
    }
}

/// Oblique, and sheared as by a tilted gantry.
fn tilted(size: [usize; 3]) -> Geometry {
    let (c, s) = (0.8, 0.6);
    Geometry {
        size,
        origin_mm: [-20.0, 4.0, 9.0],
        steps_mm: [[0.0, 0.5, 2.0], [-s * 0.9, c * 0.9, 0.0], [c * 0.8, s * 0.8, 0.0]],
    }
}

fn all_voxels(size: [usize; 3]) -> impl Iterator<Item = VoxelIndex> {
    let [d, h, w] = size;
    (0..d * h * w).map(move |i| VoxelIndex([i / (h * w), i / w % h, i % w].map(|n| n as f64)))
}

/// Linear interpolation gives a field that is linear in patient space back, wherever the new voxels lie;
/// so intensities and geometry can only agree when both are right.
#[test]
fn a_linear_field_keeps_its_place_in_patient_space() {
    let geometry = tilted([6, 9, 8]);
    let field = |geometry: &Geometry, index: VoxelIndex| {
        let [x, y, z] = geometry.to_patient(index).0;
        (3.0 * x - 2.0 * y + 0.5 * z + 7.0) as f32
    };
    let scan = all_voxels(geometry.size).map(|index| field(&geometry, index)).collect();
    let given = case(geometry.clone(), scan, None);
    for convention in CONVENTIONS {
        for spacing_mm in [[1.0, 1.3, 0.5], [2.9, 1.0, 1.9]] {
            let found = resample(spacing_mm, convention).apply(&given).unwrap();
            let grid = found.scan.geometry();
            let mut compared = 0;
            for (index, value) in all_voxels(grid.size).zip(found.scan.voxels()) {
                let old = geometry.to_voxel(grid.to_patient(index)).unwrap().0;
                // Past the outermost centres the border is repeated.
                if (0..3).all(|a| old[a] >= 0.0 && old[a] <= (geometry.size[a] - 1) as f64) {
                    assert!((value - field(grid, index)).abs() < 1e-3, "{convention:?} {spacing_mm:?}");
                    compared += 1;
                }
            }
            assert!(compared * 5 > grid.voxels(), "{compared} of {}", grid.voxels());
        }
    }
}

#[test]
fn extents_and_centres_stand_where_the_convention_says() {
    let given = case(Geometry::axis_aligned([1, 1, 10], [1.0, 1.0, 5.0]), vec![0.0; 10], None);
    let ends = |convention| {
        let found = resample([1.0; 3], convention).apply(&given).unwrap();
        let grid = found.scan.geometry();
        let at = |w: usize| grid.to_patient(VoxelIndex([0.0, 0.0, w as f64])).0[0];
        (at(0), at(grid.size[2] - 1))
    };
    assert_eq!(ends(Convention::Monai), (0.0, 45.0));
    let (first, last) = ends(Convention::Nnunet);
    assert!((first + 2.0).abs() < 1e-12 && (last - 47.0).abs() < 1e-12);
    assert_eq!(ends(Convention::Torchio), ends(Convention::Nnunet));
}

#[test]
fn the_same_spacing_shares_the_voxels() {
    let given = case(tilted([3, 4, 5]), vec![1.5; 60], Some(vec![1; 60]));
    let spacing = given.scan.geometry().spacing_mm();
    for convention in CONVENTIONS {
        let found = resample(spacing, convention).apply(&given).unwrap();
        assert!(Arc::ptr_eq(&found.scan, &given.scan));
    }
}

#[test]
fn one_voxel_and_one_slice() {
    for convention in CONVENTIONS {
        let one = case(Geometry::axis_aligned([1, 1, 1], [3.0; 3]), vec![4.0], Some(vec![2]));
        let found = resample([1.0; 3], convention).apply(&one).unwrap();
        assert!(found.scan.voxels().iter().all(|&value| value == 4.0));
        assert!(found.labels.unwrap().voxels().iter().all(|&label| label == 2));
        let slice = case(Geometry::axis_aligned([1, 2, 2], [3.0, 1.0, 1.0]), vec![1.0, 2.0, 3.0, 4.0], None);
        let found = resample([5.0, 0.5, 0.5], convention).apply(&slice).unwrap();
        assert_eq!(found.scan.size()[0], 1);
        assert_eq!((found.scan.voxels()[0], *found.scan.voxels().last().unwrap()), (1.0, 4.0));
    }
}

#[test]
fn broken_inputs_are_named() {
    let code = |resample: Resample, case: &Case| resample.apply(case).unwrap_err().code;
    let monai = |mm: f64| resample([mm; 3], Convention::Monai);
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let given = case(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![0.0, odd, 0.0], None);
        assert_eq!(code(monai(0.5), &given), "NOT_FINITE");
    }
    let given = case(Geometry::axis_aligned([1, 1, 2], [1.0; 3]), vec![0.0; 2], None);
    for mm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(code(monai(mm), &given), "BAD_SPACING");
    }
    let flat = case(Geometry::axis_aligned([1, 1, 2], [0.0, 1.0, 1.0]), vec![0.0; 2], None);
    assert_eq!(code(monai(1.0), &flat), "BAD_GRID");
    let none = case(Geometry::axis_aligned([0, 1, 2], [1.0; 3]), vec![], None);
    assert_eq!(code(monai(1.0), &none), "BAD_GRID");
    let far = case(Geometry::axis_aligned([2, 2, 2], [1e9; 3]), vec![0.0; 8], None);
    assert_eq!(code(monai(0.01), &far), "TOO_LARGE");
    let mut torn = given.clone();
    torn.labels = Some(Arc::new(LabelMap::zeros(Geometry::axis_aligned([1, 2, 2], [1.0; 3]))));
    assert_eq!(code(monai(2.0), &torn), "GRID_MISMATCH");
}

#[test]
fn nearest_order_makes_no_new_intensities() {
    let given = case(Geometry::axis_aligned([1, 1, 3], [1.0; 3]), vec![1.0, 5.0, 9.0], None);
    let nearest = Resample { order: Order::Nearest, ..resample([1.0, 1.0, 0.4], Convention::Monai) };
    let found = nearest.apply(&given).unwrap();
    assert_eq!(found.scan.voxels(), [1.0, 1.0, 5.0, 5.0, 9.0, 9.0]);
}

proptest! {
    /// A mask that was made finer comes back as it was: the new voxel around an old centre is of its class.
    #[test]
    fn finer_masks_return_as_they_were(
        size in [1..5usize, 1..6usize, 1..7usize],
        values in proptest::collection::vec(0..4u16, 120),
        finer in [1.0..4.0f64, 1.0..4.0f64, 1.0..4.0f64],
        which in 0..3usize,
    ) {
        let geometry = tilted(size);
        let labels = values[..geometry.voxels()].to_vec();
        let given = case(geometry.clone(), vec![0.0; geometry.voxels()], Some(labels.clone()));
        let spacing = geometry.spacing_mm();
        let spacing_mm = [0, 1, 2].map(|axis| spacing[axis] / finer[axis]);
        let found = resample(spacing_mm, CONVENTIONS[which]).apply(&given).unwrap();
        let back = labels_to_grid(&found.labels.unwrap(), &found.original).unwrap();
        prop_assert_eq!(back.geometry(), &geometry);
        prop_assert_eq!(back.voxels(), labels);
    }

    /// Each voxel of a full mask is covered on the way there and back, whatever the spacings.
    #[test]
    fn full_masks_stay_full(
        size in [1..6usize, 1..6usize, 1..6usize],
        spacing_mm in [0.3..6.0f64, 0.3..6.0f64, 0.3..6.0f64],
        which in 0..3usize,
    ) {
        let geometry = tilted(size);
        let full = vec![1; geometry.voxels()];
        let given = case(geometry.clone(), vec![0.0; geometry.voxels()], Some(full.clone()));
        let found = resample(spacing_mm, CONVENTIONS[which]).apply(&given).unwrap();
        let back = labels_to_grid(&found.labels.unwrap(), &geometry).unwrap();
        prop_assert_eq!(back.voxels(), full);
    }
}
