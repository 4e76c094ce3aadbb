//! CT-like volumes of a liver with lesions, and vessels that look like these in a slice, in the files of LiTS.

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::noise::{Field, stream, uniform};
use super::vs::PhantomError;
use crate::connectors::nifti::{write_labels, write_scan};
use crate::connectors::{Geometry, LabelMap, Scan, VoxelIndex};

/// The distance between voxels along `[D, H, W]`, in mm.
pub const SPACING_MM: [f64; 3] = [1.5, 0.8, 0.8];

/// The smallest matrix: a vessel is as long as makes it unlike a lesion.
const MIN_SIZE: [usize; 3] = [8, 48, 48];
/// The largest matrix, `[D, H, W]`.
const MAX_SIZE: [usize; 3] = [1024, 2048, 2048];

/// Outside of the liver, inside of it, and in lesions and vessels, in HU.
const GROUND_HU: f64 = -100.0;
const LIVER_HU: f64 = 110.0;
const LESION_HU: f64 = 70.0;

/// The largest angle by which a vessel leans from the axis of the body.
const LEAN_DEG: f64 = 25.0;
/// The length of a vessel on either side of its middle.
const HALF_VESSEL_MM: f64 = 20.0;

/// What an archive is made of. The same settings give the same files, byte by byte.
#[derive(Clone, Debug, PartialEq)]
pub struct LiverPhantom {
    /// The number of cases.
    pub cases: usize,
    /// The number of the first one.
    pub first: usize,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Voxels along `[D, H, W]`.
    pub size: [usize; 3],
    /// The number of vessels for each lesion, 0 to 1: with 1 half of what looks like a lesion in a slice is
    /// none.
    pub hard: f64,
}

/// A lesion or a vessel.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    /// Its middle, patient LPS mm.
    centre_mm: [f64; 3],
    /// The radius in the plane.
    radius_mm: f64,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// An ellipsoid, by its height over its width.
    Lesion(f64),
    /// A tube, by how far it moves in the plane along a mm of its height.
    Vessel([f64; 2]),
}

impl Shape {
    fn holds(&self, [x, y, z]: [f64; 3]) -> bool {
        let [cx, cy, cz] = self.centre_mm;
        let (dx, dy, dz) = (x - cx, y - cy, z - cz);
        match self.kind {
            Kind::Lesion(stretch) => {
                dx * dx + dy * dy + (dz / stretch).powi(2) <= self.radius_mm * self.radius_mm
            }
            Kind::Vessel([along_x, along_y]) => {
                let (dx, dy) = (dx - along_x * dz, dy - along_y * dz);
                dz.abs() <= HALF_VESSEL_MM && dx * dx + dy * dy <= self.radius_mm * self.radius_mm
            }
        }
    }

    /// Whether two may touch.
    fn nears(&self, other: &Self) -> bool {
        const STEPS: i32 = 8;
        let at = |shape: &Self, step: i32| {
            let dz = HALF_VESSEL_MM * f64::from(step) / f64::from(STEPS);
            let [x, y, z] = shape.centre_mm;
            match shape.kind {
                Kind::Lesion(_) => [x, y, z],
                Kind::Vessel([along_x, along_y]) => [x + along_x * dz, y + along_y * dz, z + dz],
            }
        };
        let least = self.radius_mm + other.radius_mm + 3.0;
        (-STEPS..=STEPS).any(|a| {
            (-STEPS..=STEPS).any(|b| {
                let (a, b) = (at(self, a), at(other, b));
                (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>() < least * least
            })
        })
    }
}

/// Writes `volume-N.nii` and `segmentation-N.nii` for each case: 1 is liver, vessels included, 2 a lesion.
///
/// # Errors
/// [`PhantomError`] when the matrix is out of range, or the folder or a file cannot be written.
pub fn write_cases(settings: &LiverPhantom, folder: &Path) -> Result<Vec<[PathBuf; 2]>, PhantomError> {
    if (0..3).any(|axis| settings.size[axis] < MIN_SIZE[axis] || settings.size[axis] > MAX_SIZE[axis]) {
        return Err(PhantomError::LiverSize { found: settings.size, least: MIN_SIZE, most: MAX_SIZE });
    }
    std::fs::create_dir_all(folder)
        .map_err(|source| PhantomError::Folder { path: folder.to_owned(), source })?;
    let cases = settings.first..settings.first.saturating_add(settings.cases);
    let write = |index: usize| {
        let (scan, labels) = case(settings, index);
        let files = ["volume", "segmentation"].map(|part| folder.join(format!("{part}-{index}.nii")));
        write_scan(&files[0], &scan)?;
        write_labels(&files[1], &labels)?;
        Ok(files)
    };
    cases.into_par_iter().map(write).collect()
}

/// Makes one case: intensities in HU, and its labels.
pub fn case(settings: &LiverPhantom, index: usize) -> (Scan, LabelMap) {
    let geometry = Geometry::axis_aligned(settings.size, SPACING_MM);
    let rng = &mut stream(settings.seed, index, "liver");
    let middle = geometry.to_patient(VoxelIndex(settings.size.map(|n| (n as f64 - 1.0) / 2.0))).0;
    // The patient's axes are columns, rows and slices here.
    let reach: [f64; 3] = [2, 1, 0].map(|axis: usize| settings.size[axis] as f64 * SPACING_MM[axis] / 2.0);
    let radii = [0.92, 0.88, 1.6].map(|share| share * uniform(rng, 0.92, 1.0));
    let inside = |point: [f64; 3], margin_mm: f64| {
        let along =
            |axis: usize| (point[axis] - middle[axis]) / (reach[axis] * radii[axis] - margin_mm).max(1.0);
        (0..3).map(|axis| along(axis).powi(2)).sum::<f64>() <= 1.0
    };
    let shapes = shapes(settings, rng, middle, reach, &inside);
    let sigma = uniform(rng, 12.0, 20.0);
    let mut field = Field::new(rng, settings.size, [8.0, 16.0, 16.0]);
    let [depth, height, width] = settings.size;
    let (mut voxels, mut labels) = (Vec::new(), Vec::new());
    let mut smooth = vec![0.0; width];
    for d in 0..depth {
        for h in 0..height {
            field.row(d, h, &mut smooth);
            for (w, smooth) in smooth.iter().enumerate() {
                let point = geometry.to_patient(VoxelIndex([d as f64, h as f64, w as f64])).0;
                let shape = shapes.iter().find(|shape| shape.holds(point));
                let (hu, label) = match shape.map(|shape| &shape.kind) {
                    Some(Kind::Lesion(_)) => (LESION_HU, 2),
                    Some(Kind::Vessel(_)) => (LESION_HU, 1),
                    None if inside(point, 0.0) => (LIVER_HU + 10.0 * f64::from(*smooth), 1),
                    None => (GROUND_HU, 0),
                };
                voxels.push((hu + sigma * normal(rng)).round() as f32);
                labels.push(label);
            }
        }
    }
    let grid = |geometry: &Geometry| geometry.clone();
    let scan = Scan::new(grid(&geometry), voxels);
    let labels = LabelMap::new(grid(&geometry), labels);
    match (scan, labels) {
        (Ok(scan), Ok(labels)) => (scan, labels),
        // The buffers always fit: as many values as voxels were written above.
        _ => (Scan::zeros(grid(&geometry)), LabelMap::zeros(geometry)),
    }
}

/// Lesions, and vessels of the same radii, that do not touch.
fn shapes(
    settings: &LiverPhantom,
    rng: &mut ChaCha8Rng,
    middle: [f64; 3],
    reach: [f64; 3],
    inside: &impl Fn([f64; 3], f64) -> bool,
) -> Vec<Shape> {
    let lesions = uniform(rng, 3.0, 7.0) as usize;
    let vessels = (settings.hard.clamp(0.0, 1.0) * lesions as f64).round() as usize;
    let mut shapes: Vec<Shape> = Vec::new();
    for number in 0..lesions + vessels {
        // Three in ten are small.
        let radius_mm =
            if uniform(rng, 0.0, 1.0) < 0.3 { uniform(rng, 2.0, 4.0) } else { uniform(rng, 4.0, 10.0) };
        let kind = if number < lesions {
            Kind::Lesion(uniform(rng, 0.8, 1.2))
        } else {
            let lean = uniform(rng, 0.0, LEAN_DEG).to_radians().tan();
            let (sin, cos) = uniform(rng, 0.0, std::f64::consts::TAU).sin_cos();
            Kind::Vessel([lean * cos, lean * sin])
        };
        // The case has one shape less where there is no room.
        for _ in 0..200 {
            let centre_mm = [0, 1, 2].map(|axis| middle[axis] + reach[axis] * uniform(rng, -0.85, 0.85));
            let shape = Shape { centre_mm, radius_mm, kind: kind.clone() };
            if inside(centre_mm, radius_mm + 2.0) && !shapes.iter().any(|other| other.nears(&shape)) {
                shapes.push(shape);
                break;
            }
        }
    }
    shapes
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let length = (-2.0 * (1.0 - uniform(rng, 0.0, 1.0)).ln()).sqrt();
    length * uniform(rng, 0.0, std::f64::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: LiverPhantom = LiverPhantom { cases: 2, first: 3, seed: 5, size: [24, 64, 64], hard: 1.0 };

    #[test]
    fn lesions_and_vessels_have_one_intensity_and_other_labels() {
        let (scan, labels) = case(&SMALL, 3);
        assert_eq!(case(&SMALL, 3).0, scan);
        assert_ne!(case(&SMALL, 4).0, scan);
        let mean = |wanted: u16| {
            let own = scan.voxels().iter().zip(labels.voxels()).filter(|(_, label)| **label == wanted);
            let values: Vec<f64> = own.map(|(value, _)| f64::from(*value)).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        assert!((mean(0) - GROUND_HU).abs() < 2.0 && (mean(2) - LESION_HU).abs() < 3.0, "{}", mean(2));
        // The liver is brighter without vessels.
        let easy = LiverPhantom { hard: 0.0, ..SMALL };
        let (plain, own) = case(&easy, 3);
        let liver = plain.voxels().iter().zip(own.voxels()).filter(|(_, label)| **label == 1);
        let dark = liver.filter(|(value, _)| **value < 40.0).count();
        let hard =
            scan.voxels().iter().zip(labels.voxels()).filter(|(value, label)| **label == 1 && **value < 40.0);
        assert!(hard.count() > 2 * dark + 20, "{dark}");
    }

    #[test]
    fn a_vessel_is_a_disc_in_each_slice_it_crosses() {
        let vessel = Shape { centre_mm: [10.0, 10.0, 30.0], radius_mm: 3.0, kind: Kind::Vessel([0.2, 0.0]) };
        for z in [12.0, 30.0, 48.0] {
            let x = 10.0 + 0.2 * (z - 30.0);
            assert!(vessel.holds([x + 2.9, 10.0, z]) && !vessel.holds([x + 3.1, 10.0, z]));
        }
        assert!(!vessel.holds([10.0, 10.0, 51.0]));
        let lesion = Shape { centre_mm: [10.0, 10.0, 30.0], radius_mm: 3.0, kind: Kind::Lesion(1.2) };
        assert!(lesion.holds([10.0, 10.0, 33.5]) && !lesion.holds([13.5, 10.0, 30.0]));
        assert!(vessel.nears(&lesion));
    }

    #[test]
    fn files_are_those_of_lits_and_sizes_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_cases(&SMALL, folder.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .flatten()
            .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["volume-3.nii", "segmentation-3.nii", "volume-4.nii", "segmentation-4.nii"]);
        assert!(files.iter().flatten().all(|file| file.is_file()));
        let flat = LiverPhantom { size: [1, 64, 64], ..SMALL };
        let error = write_cases(&flat, folder.path()).unwrap_err().to_string();
        assert!(error.contains("hint: the order is slices"), "{error}");
    }
}
