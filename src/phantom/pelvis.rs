//! T2-like MR of pelves with bladder, prostate and rectum, of which some are drawn and some are not, as NIfTI files.

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::noise::{Field, Rician, pick, stream, uniform};
use super::organs::{Ellipsoid, Organs, Tube};
use super::vs::{PhantomError, check_size};
use crate::connectors::{Geometry, LabelMap, Scan, nifti};

/// The part of a pelvis that is seen, in mm along `[D, H, W]`, whatever the matrix.
pub const WHOLE_MM: [f64; 3] = [112.0, 160.0, 160.0];

/// The labels, from 1 on.
pub const ORGANS: [&str; 3] = ["bladder", "prostate", "rectum"];

/// Tissues: what organs are made of, and what lies around them.
const TISSUES: usize = 6;

/// What a collection is made of. The same settings give the same files, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PelvisPhantom {
    /// Cases that are drawn, to learn from.
    pub labelled: usize,
    /// Cases that are drawn, to choose the best epoch by.
    pub validation: usize,
    /// Cases that nobody has drawn: what they hold lies in a folder of its own.
    pub unlabelled: usize,
    /// Cases that are drawn, to test on.
    pub test: usize,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Voxels along `[D, H, W]`.
    pub size: [usize; 3],
}

impl Default for PelvisPhantom {
    fn default() -> Self {
        Self { labelled: 4, validation: 2, unlabelled: 24, test: 40, seed: 0, size: [28, 64, 64] }
    }
}

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A case to learn from.
    Train,
    /// A case to choose the best epoch by.
    Validation,
    /// A case to learn from without labels.
    Unlabelled,
    /// A case to test on.
    Test,
}

impl PelvisPhantom {
    /// Returns what each case is for, in their order.
    pub fn purposes(&self) -> Vec<Purpose> {
        let of = |purpose, count| std::iter::repeat_n(purpose, count);
        of(Purpose::Train, self.labelled)
            .chain(of(Purpose::Validation, self.validation))
            .chain(of(Purpose::Unlabelled, self.unlabelled))
            .chain(of(Purpose::Test, self.test))
            .collect()
    }

    /// The grid of every case.
    fn geometry(&self) -> Geometry {
        let spacing = std::array::from_fn(|axis| WHOLE_MM[axis] / self.size[axis].max(1) as f64);
        Geometry::axis_aligned(self.size, spacing)
    }
}

/// Writes scans to `images`, what was drawn of them to `labels`, what nobody has drawn to `hidden` (an oracle may learn
/// from it), and two tables for `split = { file = … }`: `split.csv` names those who are drawn, `split_all.csv` has those of
/// `hidden` trained on, too. Each case is a patient.
///
/// # Errors
/// [`PhantomError`] when the matrix is out of range, or a folder or a file cannot be written.
pub fn write_pelves(settings: &PelvisPhantom, folder: &Path) -> Result<Vec<(String, Purpose)>, PhantomError> {
    check_size(settings.size)?;
    for name in ["images", "labels", "hidden"] {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(|source| PhantomError::Folder { path, source })?;
    }
    let purposes = settings.purposes();
    let written: Result<Vec<(String, Purpose)>, PhantomError> = purposes
        .into_par_iter()
        .enumerate()
        .map(|(index, purpose)| {
            let name = format!("pelvis-{index:03}");
            let (scan, truth) = case(settings, index);
            let below = if purpose == Purpose::Unlabelled { "hidden" } else { "labels" };
            nifti::write_scan(&folder.join("images").join(format!("{name}.nii.gz")), &scan)?;
            nifti::write_labels(&folder.join(below).join(format!("{name}.nii.gz")), &truth)?;
            Ok((name, purpose))
        })
        .collect();
    let written = written?;
    for (name, all) in [("split.csv", false), ("split_all.csv", true)] {
        let part = |purpose| match purpose {
            Purpose::Train => Some("train"),
            Purpose::Validation => Some("validation"),
            Purpose::Unlabelled => all.then_some("train"),
            Purpose::Test => Some("test"),
        };
        let line = |(name, purpose): &(String, Purpose)| Some(format!("{name},{}\n", part(*purpose)?));
        let lines: String = written.iter().filter_map(line).collect();
        let path = folder.join(name);
        std::fs::write(&path, format!("patient,part\n{lines}"))
            .map_err(|source| PhantomError::Folder { path: PathBuf::from(&path), source })?;
    }
    Ok(written)
}

/// A scan and its truth.
pub fn case(settings: &PelvisPhantom, index: usize) -> (Scan, LabelMap) {
    let geometry = settings.geometry();
    let organs = anatomy(&mut stream(settings.seed, index, "pelvis anatomy"));
    let mut truth = LabelMap::zeros(geometry.clone());
    let mut shares = vec![[0f32; TISSUES]; geometry.voxels()];
    let spacing = geometry.spacing_mm();
    let [_, height, width] = geometry.size;
    let at = |voxel: usize, shift: [f64; 3]| -> [f64; 3] {
        let place = [voxel / (height * width), voxel / width % height, voxel % width];
        std::array::from_fn(|axis| {
            (place[axis] as f64 + 0.5 + shift[axis]) * spacing[axis] - WHOLE_MM[axis] / 2.0
        })
    };
    // A voxel holds what eight places in it hold; its label is that of its middle.
    let corners: Vec<[f64; 3]> = (0..8)
        .map(|bits| std::array::from_fn(|axis| if bits >> axis & 1 == 1 { 0.25 } else { -0.25 }))
        .collect();
    for (voxel, (label, shares)) in truth.voxels_mut().iter_mut().zip(&mut shares).enumerate() {
        *label = organs.label(at(voxel, [0.0; 3]));
        for &corner in &corners {
            shares[organs.tissue(at(voxel, corner))] += 1.0 / 8.0;
        }
    }
    let voxels = acquire(settings, index, &geometry, &shares);
    let scan = Scan::new(geometry, voxels);
    // The voxels always fit: they were counted by the same grid.
    (scan.unwrap_or_else(|_| Scan::zeros(settings.geometry())), truth)
}

/// Makes the organs of one patient. Axes are `[D, H, W]`: up, towards the back, to the left, in mm from the
/// middle.
fn anatomy(rng: &mut ChaCha8Rng) -> Organs {
    // 40 to 250 ml, as bladders are filled, in equal ratios.
    let volume_ml = 40.0 * (250.0f64 / 40.0).powf(uniform(rng, 0.0, 1.0));
    let radius = (volume_ml * 1000.0 * 3.0 / (4.0 * std::f64::consts::PI)).cbrt();
    let (tall, wide) = (uniform(rng, 0.75, 1.0), uniform(rng, 1.0, 1.2));
    let bladder_radii = [radius * tall, radius / (tall * wide), radius * wide];
    let gland = uniform(rng, 15.0, 23.0);
    let prostate_radii = [gland * uniform(rng, 0.8, 1.1), gland * uniform(rng, 0.75, 0.95), gland];
    let floor = uniform(rng, -4.0, 4.0);
    let lean = uniform(rng, -0.35, 0.35);
    let prostate = Ellipsoid {
        centre: [floor - prostate_radii[0], uniform(rng, -8.0, 0.0), uniform(rng, -3.0, 3.0)],
        radii: prostate_radii,
        lean: uniform(rng, -0.3, 0.3),
    };
    let bladder = Ellipsoid {
        // It sits on the gland, and sinks into it a little.
        centre: [floor + bladder_radii[0] * 0.93, uniform(rng, -18.0, -8.0), uniform(rng, -6.0, 6.0)],
        radii: bladder_radii,
        lean,
    };
    let rectum = Tube {
        back: prostate.centre[1] + prostate_radii[1] + uniform(rng, 11.0, 16.0),
        radius: uniform(rng, 9.0, 16.0),
        swell: uniform(rng, 0.0, 0.3),
        wave: uniform(rng, 0.0, std::f64::consts::TAU),
        bend: uniform(rng, 4.0, 14.0) * pick(rng, [-1.0, 1.0]),
        curve: uniform(rng, 4.0, 14.0),
        wall: uniform(rng, 2.5, 4.0),
    };
    Organs { bladder, prostate, rectum, fat_mm: uniform(rng, 62.0, 74.0) }
}

/// Returns what a scanner makes of tissues: three of them, each with gain, contrast, bias and noise of its
/// own.
fn acquire(
    settings: &PelvisPhantom,
    index: usize,
    geometry: &Geometry,
    shares: &[[f32; TISSUES]],
) -> Vec<f32> {
    let rng = &mut stream(settings.seed, index, "pelvis acquisition");
    let [gain, contrast, bias, sigma] =
        pick(rng, [[600.0, 1.0, 0.15, 0.04], [1500.0, 0.85, 0.35, 0.055], [900.0, 1.2, 0.5, 0.07]]);
    let gain = gain * uniform(rng, 0.85, 1.15) as f32;
    // Soft tissue, fat, urine, gland, wall, and what a bowel holds: gas is dark, stool is not.
    let looks: [f32; TISSUES] = [0.42, 0.68, 0.85, 0.53, 0.24, uniform(rng, 0.10, 0.36) as f32]
        .map(|mean| mean * uniform(rng, 0.94, 1.06) as f32);
    let textures: [f32; TISSUES] = [0.07, 0.05, 0.01, 0.06, 0.03, 0.04];
    let spacing = geometry.spacing_mm();
    let mut fine = Field::new(rng, geometry.size, spacing.map(|mm| (6.0 / mm).max(1.0)));
    let mut coarse = Field::new(rng, geometry.size, spacing.map(|mm| (24.0 / mm).max(1.0)));
    let slopes: [f64; 6] = std::array::from_fn(|_| uniform(rng, -1.0, 1.0) * f64::from(bias));
    let mut noise = Rician::new(stream(settings.seed, index, "pelvis noise"), gain * sigma);
    let [_, height, width] = geometry.size;
    let mut voxels = vec![0f32; shares.len()];
    let mut rows = [vec![0f32; width], vec![0f32; width]];
    for (number, (line, shares)) in
        voxels.chunks_exact_mut(width.max(1)).zip(shares.chunks_exact(width.max(1))).enumerate()
    {
        let (slice, row) = (number / height.max(1), number % height.max(1));
        fine.row(slice, row, &mut rows[0]);
        coarse.row(slice, row, &mut rows[1]);
        for (column, (value, share)) in line.iter_mut().zip(shares).enumerate() {
            let texture = 0.6 * rows[0][column] + 0.4 * rows[1][column];
            let signal: f32 =
                (0..TISSUES).map(|tissue| share[tissue] * (looks[tissue] + textures[tissue] * texture)).sum();
            let place = [slice, row, column];
            let [z, y, x] =
                std::array::from_fn(|axis| 2.0 * place[axis] as f64 / geometry.size[axis] as f64 - 1.0);
            let terms = [z, y, x, z * z - 0.3, y * y - 0.3, x * y];
            let field: f64 = terms.iter().zip(&slopes).map(|(term, slope)| term * slope).sum();
            *value = gain * signal.max(0.0).powf(contrast) * field.exp() as f32;
        }
        noise.add(line);
        line.iter_mut().for_each(|value| *value = value.round().clamp(0.0, 32_000.0));
    }
    voxels
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PelvisPhantom =
        PelvisPhantom { labelled: 2, validation: 1, unlabelled: 2, test: 1, seed: 3, size: [14, 32, 32] };

    /// Returns the millilitres of each organ.
    fn volumes(index: usize) -> [f64; 3] {
        let (scan, truth) = case(&SMALL, index);
        let ml = scan.geometry().spacing_mm().iter().product::<f64>() / 1000.0;
        [1, 2, 3].map(|label| truth.voxels().iter().filter(|&&found| found == label).count() as f64 * ml)
    }

    #[test]
    fn organs_are_as_large_as_organs_are_and_vary() {
        let all: Vec<[f64; 3]> = (0..24).map(volumes).collect();
        for [bladder, prostate, rectum] in &all {
            assert!((25.0..280.0).contains(bladder), "{bladder} ml");
            assert!((5.0..70.0).contains(prostate), "{prostate} ml");
            assert!((15.0..140.0).contains(rectum), "{rectum} ml");
        }
        let most = |organ: usize| all.iter().map(|ml| ml[organ]).fold(0.0, f64::max);
        let least = |organ: usize| all.iter().map(|ml| ml[organ]).fold(f64::INFINITY, f64::min);
        assert!((0..3).all(|organ| most(organ) > 1.5 * least(organ)), "{all:?}");
    }

    #[test]
    fn the_bladder_is_above_the_gland_and_brighter_and_the_rectum_behind() {
        for index in 0..6 {
            let (scan, truth) = case(&SMALL, index);
            let [_, height, width] = scan.size();
            let of = |label: u16, what: &dyn Fn(usize) -> f64| {
                let these: Vec<f64> = (truth.voxels().iter().enumerate())
                    .filter(|(_, found)| **found == label)
                    .map(|(voxel, _)| what(voxel))
                    .collect();
                these.iter().sum::<f64>() / these.len() as f64
            };
            let up = |voxel: usize| (voxel / (height * width)) as f64;
            let back = |voxel: usize| (voxel / width % height) as f64;
            let bright = |voxel: usize| f64::from(scan.voxels()[voxel]);
            assert!(of(1, &up) > of(2, &up) && of(3, &back) > of(2, &back), "case {index}");
            assert!(of(1, &bright) > of(2, &bright) && of(2, &bright) > of(3, &bright), "case {index}");
        }
    }

    #[test]
    fn what_nobody_drew_has_no_label_and_the_same_settings_give_the_same_bytes() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let written = write_pelves(&SMALL, one.path()).unwrap();
        write_pelves(&SMALL, other.path()).unwrap();
        assert_eq!(written.len(), 6);
        for (name, purpose) in &written {
            let file = |below: &str| format!("{below}/{name}.nii.gz");
            let drawn = one.path().join(file("labels")).exists();
            assert_eq!(drawn, *purpose != Purpose::Unlabelled);
            assert_eq!(one.path().join(file("hidden")).exists(), !drawn);
            let bytes = |folder: &Path| std::fs::read(folder.join(file("images"))).unwrap();
            assert!(bytes(one.path()) == bytes(other.path()));
        }
        let split = std::fs::read_to_string(one.path().join("split.csv")).unwrap();
        assert_eq!(split.lines().count(), 1 + 4);
        let all = std::fs::read_to_string(one.path().join("split_all.csv")).unwrap();
        assert_eq!(all.lines().filter(|line| line.ends_with(",train")).count(), 4);
    }
}
