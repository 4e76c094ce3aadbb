//! Pairs made by a formula: what is found beside what SimpleITK finds, the same bytes on any number of threads, and what is
//! refused.

use serde_json::Value;
use tomoflow_connectors::{Geometry, LabelMap, Scan, VoxelIndex};

use super::*;

/// How well SimpleITK does on the same pairs, and the script that says so.
const PEER: &str = include_str!("../../../tests/golden/register/peer.json");

/// Centre and radii in mm along `[D, H, W]`, and what it adds: as in the peer's script.
const ORGANS: [([f64; 3], [f64; 3], f64); 4] = [
    ([0.0, 0.0, 0.0], [52.0, 62.0, 66.0], 0.4),
    ([12.0, -15.0, 0.0], [18.0, 20.0, 24.0], 0.45),
    ([-22.0, -8.0, 3.0], [12.0, 15.0, 17.0], 0.25),
    ([-12.0, 28.0, -6.0], [30.0, 12.0, 14.0], -0.2),
];
const SHIFT: [f64; 3] = [6.0, -9.0, 7.0];

fn matrix() -> [[f64; 3]; 3] {
    let (sin, cos) = 6.0_f64.to_radians().sin_cos();
    let times = |a: [[f64; 3]; 3], b: [[f64; 3]; 3]| {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum::<f64>()))
    };
    let turn = [[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]];
    let shear = [[1.0, 0.0, 0.04], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    times(times(turn, shear), [[1.05, 0.0, 0.0], [0.0, 0.95, 0.0], [0.0, 0.0, 1.08]])
}

/// Where the formula is looked at for a place `[D, H, W]` of the moving scan.
fn leads([d, h, w]: [f64; 3], height: f64) -> [f64; 3] {
    let turn = std::f64::consts::TAU;
    let waves = [(turn * h / 90.0).sin(), (turn * d / 80.0 + 1.0).sin(), (turn * w / 100.0).cos()];
    let matrix = matrix();
    [0, 1, 2].map(|i| {
        let row = matrix[i];
        row[0] * d + row[1] * h + row[2] * w + SHIFT[i] + height * waves[i]
    })
}

fn share(place: [f64; 3], centre: [f64; 3], radii: [f64; 3]) -> f64 {
    (0..3).map(|axis| ((place[axis] - centre[axis]) / radii[axis]).powi(2)).sum::<f64>().sqrt()
}

fn value(place: [f64; 3]) -> f32 {
    let mut total = 0.03 * (place[0] / 8.0).sin() * (place[1] / 11.0).sin() * (place[2] / 9.0).sin();
    for (centre, radii, adds) in ORGANS {
        let width = radii.iter().sum::<f64>() / 3.0;
        total += adds / (1.0 + ((share(place, centre, radii) - 1.0) * width / 2.5).exp());
    }
    total as f32
}

fn label(place: [f64; 3]) -> u16 {
    let holds = |organ: &usize| share(place, ORGANS[*organ].0, ORGANS[*organ].1) < 1.0;
    (1..4).rev().find(holds).unwrap_or(0) as u16
}

fn grid(size: [usize; 3], spacing_mm: [f64; 3], first: [f64; 3]) -> Geometry {
    let [d, h, w] = first;
    Geometry { origin_mm: [w, h, d], ..Geometry::axis_aligned(size, spacing_mm) }
}

/// A scan and its labels, the formula being looked at where `at` says.
fn made(geometry: Geometry, at: impl Fn([f64; 3]) -> [f64; 3]) -> (Scan, LabelMap) {
    let [depth, height, width] = geometry.size;
    let mut places = Vec::new();
    for d in 0..depth {
        for h in 0..height {
            for w in 0..width {
                let [x, y, z] = geometry.to_patient(VoxelIndex([d as f64, h as f64, w as f64])).0;
                places.push(at([z, y, x]));
            }
        }
    }
    let scan = Scan::new(geometry.clone(), places.iter().map(|&place| value(place)).collect()).unwrap();
    (scan, LabelMap::new(geometry, places.iter().map(|&place| label(place)).collect()).unwrap())
}

fn pair(height: f64) -> [(Scan, LabelMap); 2] {
    let fixed = grid([24, 48, 48], [5.0, 3.0, 3.0], [-57.5, -70.5, -70.5]);
    let moving = grid([28, 46, 52], [4.6, 3.3, 2.9], [-60.0, -75.0, -71.0]);
    [made(fixed, |place| place), made(moving, |place| leads(place, height))]
}

fn dice(a: &[u16], b: &[u16]) -> [f64; 3] {
    [1, 2, 3].map(|label| {
        let both = a.iter().zip(b).filter(|(a, b)| **a == label && **b == label).count();
        let each = a.iter().chain(b).filter(|found| **found == label).count();
        2.0 * both as f64 / each as f64
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn figures(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// The mean distance over organs from where a map leads to where the formula does, where no waves are.
fn distance_mm(fixed: &LabelMap, affine: &Affine) -> f64 {
    let inside = Affine { matrix: matrix(), offset_mm: SHIFT };
    let [_, height, width] = fixed.size();
    let organs = fixed.voxels().iter().enumerate().filter(|(_, label)| **label > 0).step_by(7);
    let away = organs.map(|(voxel, _)| {
        let index = [voxel / (height * width), voxel / width % height, voxel % width].map(|at| at as f64);
        let [x, y, z] = fixed.geometry().to_patient(VoxelIndex(index)).0;
        let [a, b, c] = affine.apply([x, y, z]);
        // Back by the formula: to where the fixed scan's place is.
        let back = inside.apply([c, b, a]);
        (0..3).map(|axis| (back[axis] - [z, y, x][axis]).powi(2)).sum::<f64>().sqrt()
    });
    mean(&away.collect::<Vec<_>>())
}

#[test]
fn an_affine_map_is_found_as_well_as_by_simpleitk() {
    let peer: Value = serde_json::from_str(PEER).unwrap();
    let [(fixed, truth), (moving, drawn)] = pair(0.0);
    let found = align(&fixed, &moving).unwrap();
    let theirs = peer["pairs"][0]["mean_distance_mm"].as_f64().unwrap();
    let ours = distance_mm(&truth, &found.affine);
    assert!(ours < theirs.max(0.3) + 0.05, "{ours} mm, theirs {theirs} mm");
    assert!(found.correlation > 0.99, "{found:?}");
    let carried = Deformation::affine(fixed.geometry(), found.affine).labels(&drawn).unwrap();
    let (ours, theirs) = (dice(truth.voxels(), &carried), figures(&peer["pairs"][0]["dice_affine"]));
    assert!(mean(&ours) > mean(&theirs) - 0.01, "{ours:?}, theirs {theirs:?}");
    assert!(mean(&theirs) > mean(&figures(&peer["pairs"][0]["dice_before"])) + 0.1);
}

#[test]
fn waves_are_undone_as_well_as_by_simpleitk_and_nothing_folds() {
    let peer: Value = serde_json::from_str(PEER).unwrap();
    let [(fixed, truth), (moving, drawn)] = pair(6.0);
    let found = align(&fixed, &moving).unwrap();
    let before = Deformation::affine(fixed.geometry(), found.affine).labels(&drawn).unwrap();
    let field = deform(&fixed, &moving, &found.affine, &Demons::default()).unwrap();
    let after = dice(truth.voxels(), &field.labels(&drawn).unwrap());
    let theirs = figures(&peer["pairs"][1]["dice_demons"]);
    // Theirs are told that the intensities of both are the same ones, ours have to find that out.
    assert!(mean(&after) > mean(&theirs) - 0.015, "{after:?}, theirs {theirs:?}");
    assert!(mean(&after) > mean(&dice(truth.voxels(), &before)) + 0.2, "{after:?}");
    assert_eq!(field.folds(), 0.0);
    let longest = (0..truth.voxels().len()).map(|voxel| field.displacement_mm(voxel)[1].abs());
    assert!((1.0..20.0).contains(&longest.fold(0.0, f64::max)));
}

#[test]
fn gain_offset_and_the_frame_of_reference_do_not_matter() {
    let [(fixed, truth), (moving, _)] = pair(0.0);
    let voxels = moving.voxels().iter().map(|value| 350.0 * value - 80.0).collect();
    // Far away: nothing of one lies in the other as they come.
    let mut far = moving.geometry().clone();
    far.origin_mm[0] += 5000.0;
    let found = align(&fixed, &Scan::new(far, voxels).unwrap()).unwrap();
    let mut affine = found.affine;
    affine.offset_mm[0] -= 5000.0;
    let away = distance_mm(&truth, &affine);
    assert!(away < 0.4, "{away} mm");
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let [(fixed, _), (moving, _)] = pair(6.0);
    let found = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let aligned = align(&fixed, &moving).unwrap();
            let how = Demons { iterations: 6, ..Demons::default() };
            (aligned, deform(&fixed, &moving, &aligned.affine, &how).unwrap())
        })
    };
    assert_eq!(found(1), found(3));
}

#[test]
fn what_cannot_be_registered_is_refused_by_name() {
    let [(fixed, _), (moving, _)] = pair(0.0);
    let code = |fixed: &Scan, moving: &Scan| align(fixed, moving).unwrap_err().code;
    let level = Scan::new(moving.geometry().clone(), vec![7.5; moving.voxels().len()]).unwrap();
    assert_eq!(code(&fixed, &level), "FLAT_SCAN");
    assert_eq!(code(&level, &fixed), "FLAT_SCAN");
    let slice = Geometry { size: [1, 46, 52], ..moving.geometry().clone() };
    let slice = Scan::new(slice, moving.slice(14).to_vec()).unwrap();
    assert_eq!(code(&fixed, &slice), "TOO_THIN");
    for odd in [f32::NAN, f32::INFINITY] {
        let mut voxels = moving.voxels().to_vec();
        voxels[100] = odd;
        assert_eq!(code(&fixed, &Scan::new(moving.geometry().clone(), voxels).unwrap()), "NOT_FINITE");
    }
    let mut flat = moving.geometry().clone();
    flat.steps_mm[0] = flat.steps_mm[1];
    assert_eq!(code(&fixed, &Scan::new(flat, moving.voxels().to_vec()).unwrap()), "BAD_GRID");
    // A tenth as wide along each axis: a thousandth of the body.
    let mut small = moving.geometry().clone();
    small.steps_mm = small.steps_mm.map(|step| step.map(|mm| mm / 10.0));
    let small = Scan::new(small, moving.voxels().to_vec()).unwrap();
    assert_eq!(code(&fixed, &small), "NO_OVERLAP");
    let beside = Affine::shift([0.0, 0.0, 900.0]);
    let refused = deform(&fixed, &moving, &beside, &Demons::default()).unwrap_err();
    assert_eq!(refused.code, "NO_OVERLAP");
    assert_eq!(deform(&fixed, &level, &Affine::IDENTITY, &Demons::default()).unwrap_err().code, "FLAT_SCAN");
}

#[test]
fn a_field_that_turns_space_round_is_counted() {
    let geometry = Geometry::axis_aligned([6, 6, 6], [1.0; 3]);
    // Each voxel to the other end of its row.
    let row: Vec<f32> = (0..216).map(|voxel| 5.0 - 2.0 * (voxel % 6) as f32).collect();
    let field = Some([vec![0.0; 216], vec![0.0; 216], row]);
    let turned = Deformation { geometry: geometry.clone(), affine: Affine::IDENTITY, field };
    assert_eq!(turned.folds(), 1.0);
    let labels = LabelMap::new(geometry.clone(), (0..216).map(|voxel| voxel % 6).collect()).unwrap();
    assert_eq!(turned.labels(&labels).unwrap()[..6], [5, 4, 3, 2, 1, 0]);
    let beside = Deformation::affine(&geometry, Affine::shift([2.0, 0.0, 0.0]));
    assert_eq!(beside.labels(&labels).unwrap()[..6], [2, 3, 4, 5, NOWHERE, NOWHERE]);
}
