//! Weights as the papers' formulas have them, and labels where atlases differ.

use super::joint::weights;
use super::*;

#[test]
fn atlases_that_err_together_count_less() {
    let of = |rows: [[f64; 4]; 3]| weights(&rows.map(|row| row.to_vec()), 0.1, 2.0);
    let near = |found: Vec<f64>, expected: [f64; 3]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
    };
    let alike = [[1.0, 2.0, 0.0, 1.0], [1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 3.0, 1.0]];
    near(of(alike), [0.402_208_763_805, 0.402_208_763_805, 0.195_582_472_390]);
    let worse = [[1.0, 2.0, 0.0, 1.0], [2.0, 4.0, 0.0, 2.0], [0.0, 1.0, 3.0, 1.0]];
    near(of(worse), [0.990_227_626_272, 0.0, 0.009_772_373_728]);
    // Nothing to choose by.
    near(weights(&[vec![0.0; 4], vec![0.0; 4], vec![0.0; 4]], 0.1, 2.0), [1.0 / 3.0; 3]);
}

#[test]
fn a_patch_is_made_of_few() {
    let how = Sparse { patch: [1; 3], search: [1; 3], candidates: 3, l1: 0.1, l2: 0.01 };
    // Two patches at right angles, and one between that adds nothing.
    let half = 0.5_f32.sqrt();
    let patches = [vec![1.0, 0.0], vec![0.0, 1.0], vec![half, half]];
    let found = sparse::weights(&patches, &[1.0, 0.0, f64::from(half)], &how);
    assert!((found[0] - 0.9 / 1.01).abs() < 0.05 && found[1] == 0.0, "{found:?}");
    // What least squares ask for: the slope is 0 where a weight is above 0, and not below it elsewhere.
    let towards = [0.8, 0.3, 0.7];
    let found = sparse::weights(&patches, &towards, &how);
    for i in 0..3 {
        let gram: f64 = (0..3)
            .map(|j| {
                patches[i].iter().zip(&patches[j]).map(|(a, b)| f64::from(a * b)).sum::<f64>() * found[j]
            })
            .sum();
        let slope = gram - towards[i] + how.l1 + how.l2 * found[i];
        assert!(if found[i] > 0.0 { slope.abs() < 1e-4 } else { slope > -1e-4 }, "{slope} {found:?}");
    }
}

/// A scan with a bright block, and atlases whose block lies `shift` columns beside it.
fn block(shift: usize) -> Carried {
    let inside = |voxel: usize| {
        let [d, h, w] = [voxel / 144, voxel / 12 % 12, voxel % 12];
        (2..6).contains(&d) && (3..8).contains(&h) && (3 + shift..7 + shift).contains(&w)
    };
    let texture = |voxel: usize| ((voxel * 7919) % 101) as f32 / 2000.0;
    Carried {
        scan: (0..8 * 144).map(|voxel| texture(voxel) + if inside(voxel) { 1.0 } else { 0.0 }).collect(),
        labels: (0..8 * 144).map(|voxel| u16::from(inside(voxel))).collect(),
    }
}

fn wrong(found: &[u16], truth: &[u16]) -> usize {
    found.iter().zip(truth).filter(|(found, truth)| found != truth).count()
}

#[test]
fn likeness_finds_what_votes_do_not() {
    let (size, truth) = ([8, 12, 12], block(0));
    // Two atlases are off by two columns, one by one.
    let atlases = [block(2), block(2), block(1)];
    let (patch, search) = ([1; 3], [2; 3]);
    let joint = joint(&truth.scan, size, &atlases, &Joint { patch, search, alpha: 0.1, beta: 2.0 });
    let how = Sparse { patch, search, candidates: 20, l1: 0.1, l2: 0.01 };
    let sparse = sparse(&truth.scan, size, &atlases, &how);
    let votes = wrong(&majority(&atlases), &truth.labels);
    let counts = (wrong(&joint, &truth.labels), wrong(&sparse, &truth.labels), votes);
    assert!(counts.0 * 4 < votes && counts.1 * 2 < votes, "{counts:?}");
    // The same bytes on any number of threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let again = pool.install(|| {
        super::joint(&truth.scan, size, &atlases, &Joint { patch, search, alpha: 0.1, beta: 2.0 })
    });
    assert_eq!(again, joint);
}

#[test]
fn where_an_atlas_does_not_reach_it_has_no_vote() {
    let (size, truth) = ([8, 12, 12], block(0));
    let mut cut = block(0);
    cut.labels[..4 * 144].fill(NOWHERE);
    let nothing = Carried { labels: vec![NOWHERE; 8 * 144], ..block(0) };
    let atlases = [cut, block(0), nothing.clone()];
    assert_eq!(majority(&atlases), truth.labels);
    let how = Joint { patch: [1; 3], search: [1; 3], alpha: 0.1, beta: 2.0 };
    assert_eq!(joint(&truth.scan, size, &atlases, &how), truth.labels);
    assert_eq!(majority(&[nothing]), vec![0; 8 * 144]);
    assert!(majority(&[]).is_empty());
}
