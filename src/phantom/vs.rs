//! T2-like MR series of heads with a tumour like a vestibular schwannoma, and its outlines.

mod error;

use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

pub use self::error::PhantomError;
use super::hard::Hardness;
pub use super::hard::Oracle;
use super::head::{Canal, Head};
use super::identity;
use super::noise::{pick, stream, uniform};
use super::scanner::{Scanner, Weighting};
use super::tumour::Tumour;
use crate::connectors::dicom::write::{MrSeries, Pixels, Slice, write_slice};
use crate::connectors::geometry::{cross, norm};
use crate::connectors::rtstruct::write::{StructureSetHeader, contours, write_structures};
use crate::connectors::{Geometry, LabelMap, Scan, VoxelIndex};

/// Distance between voxels along `[D, H, W]`, in mm, whatever the matrix, unless pixels are said to be larger.
pub const SPACING_MM: [f64; 3] = [1.5, 0.4, 0.4];

/// The structures of every structure set: label 1, then label 2.
pub const STRUCTURES: [&str; 2] = ["TV", "cochlea"];

/// The field of view of a whole head, in mm: a smaller matrix shows a part of it.
const WHOLE_MM: [f64; 3] = [120.0, 204.8, 204.8];

/// What an archive is made of. The same settings give the same files, byte by byte.
#[derive(Clone, Debug, PartialEq)]
pub struct VsPhantom {
    /// The number of series.
    pub series: usize,
    /// The number of the first one: an archive grows by the series that follow.
    pub first: usize,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Voxels along `[D, H, W]`. D varies by up to a tenth from series to series; a matrix smaller than
    /// 512 x 512 shows the part of the head around the tumour.
    pub size: [usize; 3],
    /// The distance between the voxels of a slice, in mm.
    pub pixel_mm: f64,
    /// The difficulty of the patients, from 0 to 1: small tumours of low contrast beside decoys that one
    /// slice cannot tell from them, blurred edges, and outlines that are not exact.
    pub hard: f64,
}

impl VsPhantom {
    /// Twelve whole heads, easy ones.
    pub const DEFAULT: Self =
        Self { series: 12, first: 0, seed: 0, size: [60, 512, 512], pixel_mm: SPACING_MM[2], hard: 0.0 };

    /// Returns the distance between voxels along `[D, H, W]`, in mm.
    fn spacing_mm(&self) -> [f64; 3] {
        [SPACING_MM[0], self.pixel_mm, self.pixel_mm]
    }
}

impl Default for VsPhantom {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The smallest matrix, `[D, H, W]`.
pub const MIN_SIZE: [usize; 3] = [4, 16, 16];

/// The largest matrix, `[D, H, W]`.
pub const MAX_SIZE: [usize; 3] = [512, 4096, 4096];

/// One series as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The number of the series.
    pub index: usize,
    /// The SeriesInstanceUID.
    pub series_uid: String,
    /// SOPInstanceUID of each slice, ascending along the normal.
    pub instance_uids: Vec<String>,
    /// The file of each slice, in the same order.
    pub slices: Vec<PathBuf>,
    /// The file of its outlines.
    pub outlines: PathBuf,
}

/// Writes series and outlines into one folder, which is made when it is absent.
///
/// # Errors
/// [`PhantomError`] when the matrix is out of range, or the folder or a file cannot be written.
pub fn write_archive(settings: &VsPhantom, folder: &Path) -> Result<Vec<Written>, PhantomError> {
    check(settings)?;
    std::fs::create_dir_all(folder)
        .map_err(|source| PhantomError::Folder { path: folder.to_owned(), source })?;
    (settings.first..settings.first.saturating_add(settings.series))
        .into_par_iter()
        .map(|index| write_series(settings, index, folder))
        .collect()
}

/// Refuses a matrix that no tumour fits into, or that no file holds.
pub(super) fn check_size(size: [usize; 3]) -> Result<(), PhantomError> {
    let out = (0..3).any(|axis| size[axis] < MIN_SIZE[axis] || size[axis] > MAX_SIZE[axis]);
    if out { Err(PhantomError::Size { found: size }) } else { Ok(()) }
}

/// Refuses patients that cannot be.
pub(super) fn check(settings: &VsPhantom) -> Result<(), PhantomError> {
    let VsPhantom { size, hard, pixel_mm, .. } = *settings;
    check_size(size)?;
    let setting = |what, found, hint| Err(PhantomError::Setting { what, found, hint });
    if !(0.0..=1.0).contains(&hard) {
        return setting("a hardness from 0 to 1", hard, "0 is easy, 1 as hard as it gets");
    }
    if !(0.1..=4.0).contains(&pixel_mm) {
        return setting("voxels of 0.1 to 4 mm within slices", pixel_mm, "heads are about 200 mm wide");
    }
    Ok(())
}

fn write_series(settings: &VsPhantom, index: usize, folder: &Path) -> Result<Written, PhantomError> {
    let (scan, truth) = case(settings, index);
    let header = header(settings, index, scan.geometry());
    let instance_uids = identity::instance_uids(settings.seed, index, Weighting::T2, scan.size()[0]);
    let name = |_: usize, uid: &str| folder.join(identity::file_name(uid));
    let from_above = from_above(settings, index);
    let slices = write_slices(&scan, &header, &instance_uids, from_above, name)?;
    let outlines = write_rtstruct(settings, index, &truth, &STRUCTURES, folder)?;
    Ok(Written { index, series_uid: header.uid, instance_uids, slices, outlines })
}

/// Scanners number slices in the order of acquisition, some from above.
pub(super) fn from_above(settings: &VsPhantom, index: usize) -> bool {
    pick(&mut stream(settings.seed, index, "order"), [false, false, true])
}

/// Writes a scan's slices; `name` gives the file of a slice by its instance number and its UID.
pub(super) fn write_slices(
    scan: &Scan,
    header: &MrSeries,
    uids: &[String],
    from_above: bool,
    name: impl Fn(usize, &str) -> PathBuf,
) -> Result<Vec<PathBuf>, PhantomError> {
    let mut slices = Vec::with_capacity(uids.len());
    for (place, uid) in uids.iter().enumerate() {
        let number = if from_above { uids.len() - place } else { place + 1 };
        let values: Vec<u16> = scan.slice(place).iter().map(|&value| value as u16).collect();
        let slice = Slice {
            index: place,
            instance_number: number as i32,
            sop_instance_uid: uid,
            pixels: Pixels::Unsigned(&values),
        };
        let path = name(number, uid);
        write_slice(&path, header, &slice)?;
        slices.push(path);
    }
    Ok(slices)
}

/// Writes the outlines of a series from any labels on its grid: label 1 is the first name, and so on.
///
/// It replaces those that [`write_archive`] wrote, as when somebody corrects a mask. A label without
/// voxels is left out.
///
/// # Errors
/// [`PhantomError`] when the file cannot be written.
pub fn write_rtstruct(
    settings: &VsPhantom,
    index: usize,
    labels: &LabelMap,
    names: &[&str],
    folder: &Path,
) -> Result<PathBuf, PhantomError> {
    let series = header(settings, index, labels.geometry());
    let uids = identity::instance_uids(settings.seed, index, Weighting::T2, labels.size()[0]);
    let header = structure_set(settings, index, Weighting::T2, series, uids);
    let path = folder.join(identity::file_name(&header.sop_instance_uid));
    write_outlines(&path, &header, labels, names)?;
    Ok(path)
}

/// Writes outlines: label 1 is the first name, and so on; a label without voxels is left out.
pub(super) fn write_outlines(
    path: &Path,
    header: &StructureSetHeader,
    labels: &LabelMap,
    names: &[&str],
) -> Result<(), PhantomError> {
    let structures: Vec<_> = (1..)
        .zip(names)
        .map(|(label, name)| ((*name).to_owned(), contours(labels, label, &header.referenced_instances)))
        .filter(|(_, contours)| !contours.is_empty())
        .collect();
    Ok(write_structures(path, header, &structures)?)
}

/// Writes what the outlines of a series say of themselves.
pub(super) fn structure_set(
    settings: &VsPhantom,
    index: usize,
    weighting: Weighting,
    series: MrSeries,
    uids: Vec<String>,
) -> StructureSetHeader {
    let uid = |purpose: &str| identity::uid(settings.seed, index, &weighting.purpose(purpose));
    StructureSetHeader {
        series_uid: uid("outlines series"),
        sop_instance_uid: uid("outlines"),
        label: "VS".to_owned(),
        date: series.study.date.clone(),
        time: "235900".to_owned(),
        manufacturer: "tomoflow".to_owned(),
        referenced_series_uid: series.uid,
        referenced_sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".to_owned(),
        referenced_instances: uids,
        study: series.study,
    }
}

fn header(settings: &VsPhantom, index: usize, geometry: &Geometry) -> MrSeries {
    let window = window(settings, index, Weighting::T2);
    identity::series(settings.seed, index, geometry.clone(), window)
}

/// Returns the centre and width that show a series well.
pub(super) fn window(settings: &VsPhantom, index: usize, weighting: Weighting) -> [f64; 2] {
    let bright = brightness(settings, index, weighting);
    [(0.5 * bright).round(), bright.round()]
}

/// The stored value of what is brightest.
fn brightness(settings: &VsPhantom, index: usize, weighting: Weighting) -> f64 {
    uniform(&mut stream(settings.seed, index, &weighting.purpose("brightness")), 700.0, 2200.0)
}

/// The scan of one series as its files hold it, and the truth: 1 for the tumour, 2 for the cochlea.
///
/// # Units
/// Stored values of 12 bits, in the vendor's own scale.
pub fn case(settings: &VsPhantom, index: usize) -> (Scan, LabelMap) {
    let anatomy = Anatomy::new(settings, index);
    (anatomy.scan(settings, index, Weighting::T2), anatomy.truth())
}

/// Returns what can be reached on the patient of this number.
pub fn oracle(settings: &VsPhantom, index: usize) -> Oracle {
    let Anatomy { tumour, hardness, geometry, .. } = Anatomy::new(settings, index);
    super::hard::oracle(&tumour, &hardness, &geometry)
}

/// A patient on the table, whatever is acquired.
pub(super) struct Anatomy {
    head: Head,
    tumour: Tumour,
    hardness: Hardness,
    /// The grid in the head's own space.
    geometry: Geometry,
    /// The same in the scanner's.
    shifted: Geometry,
}

impl Anatomy {
    /// The patient of this number.
    pub fn new(settings: &VsPhantom, index: usize) -> Self {
        let rng = &mut stream(settings.seed, index, "anatomy");
        let side = pick(rng, [-1.0, 1.0]);
        let (head, canal) = Head::new(rng, side);
        let slices = slice_count(rng, settings.size[0]);
        let size = [slices, settings.size[1], settings.size[2]];
        let extent = [0, 1, 2].map(|axis| size[axis] as f64 * settings.spacing_mm()[axis]);
        let mut tumour = tumour(rng, canal, extent, settings.hard);
        let geometry = place(rng, &tumour, size, extent, settings.spacing_mm());
        let across = geometry.steps_mm[0].map(|x| x / norm(geometry.steps_mm[0]));
        let hardness = Hardness::new((settings.seed, index), settings.hard, &head, &mut tumour, across);
        // The patient lies somewhere on the table: the origin is no round number, with the digits of a file.
        let mut shifted = geometry.clone();
        for x in &mut shifted.origin_mm {
            *x = ((*x + uniform(rng, -12.0, 12.0)) * 1e6).round() / 1e6;
        }
        Self { head, tumour, hardness, geometry, shifted }
    }

    /// A series as its files hold it.
    pub fn scan(&self, settings: &VsPhantom, index: usize, weighting: Weighting) -> Scan {
        let mut scan = Scan::zeros(self.shifted.clone());
        let bright = brightness(settings, index, weighting);
        let scanner = Scanner::new(settings.seed, index, weighting, (&self.geometry, &self.hardness), bright);
        scanner.acquire(&self.head, &self.tumour, scan.voxels_mut());
        scan
    }

    /// Draws the truth: 1 for the tumour, 2 for the cochlea.
    pub fn truth(&self) -> LabelMap {
        let mut truth = LabelMap::zeros(self.shifted.clone());
        mark(&self.head, (&self.tumour, &self.hardness), &self.geometry, truth.voxels_mut());
        truth
    }
}

fn slice_count(rng: &mut ChaCha8Rng, slices: usize) -> usize {
    let spread = (slices / 10) as f64;
    (slices as f64 + uniform(rng, -spread, spread).round()).max(1.0) as usize
}

/// Draws a tumour of 5 to 25 mm, mostly small; in a small field of view neither tiny nor too large to show.
fn tumour(rng: &mut ChaCha8Rng, canal: Canal, extent_mm: [f64; 3], hard: f64) -> Tumour {
    let narrowest = extent_mm.into_iter().fold(f64::MAX, f64::min);
    let largest = (0.6 * narrowest).min(25.0);
    let smallest = (12.0 - 0.1 * narrowest).max(5.0).min(largest);
    let share = uniform(rng, 0.0, 1.0).powf(1.3);
    let (easy, small) = (smallest + (largest - smallest) * share, 4.0 + 10.0 * share);
    let diameter = if hard > 0.0 { easy + hard * (small.min(largest) - easy) } else { easy };
    Tumour::new(rng, canal, diameter, 0.2 * narrowest)
}

/// A grid that shows the tumour somewhere, within a whole head's field of view, a little oblique in
/// two of five series.
fn place(
    rng: &mut ChaCha8Rng,
    tumour: &Tumour,
    size: [usize; 3],
    extent_mm: [f64; 3],
    spacing_mm: [f64; 3],
) -> Geometry {
    let oblique = pick(rng, [0.0, 0.0, 0.0, 1.0, 1.0]);
    let [pitch, roll] = [oblique * uniform(rng, -0.2, 0.2), oblique * uniform(rng, -0.08, 0.08)];
    let row = [roll.cos(), 0.0, -roll.sin()];
    let column = [pitch.sin() * roll.sin(), pitch.cos(), pitch.sin() * roll.cos()];
    let normal = cross(row, column);
    let [low, high] = tumour.extent_mm();
    // Patient axes x, y, z go with W, H, D.
    let centre_mm = [0, 1, 2].map(|i| {
        let extent = extent_mm[2 - i];
        let play = (0.5 * (extent - (high[i] - low[i])) - 2.0).max(0.0).min(0.25 * extent);
        let free = (0.5 * (WHOLE_MM[2 - i] - extent)).max(0.0);
        (0.5 * (low[i] + high[i]) + uniform(rng, -play, play)).clamp(-free, free)
    });
    let unit = |v: [f64; 3]| v.map(|x| x / norm(v));
    let axes = [unit(normal), unit(column), unit(row)];
    let steps_mm = [0, 1, 2].map(|axis| axes[axis].map(|x| x * spacing_mm[axis]));
    let mut geometry = Geometry { size, origin_mm: centre_mm, steps_mm };
    let half = size.map(|n| -0.5 * (n as f64 - 1.0));
    geometry.origin_mm = geometry.to_patient(VoxelIndex(half)).0;
    geometry
}

/// The truth at the voxels' centres.
fn mark(head: &Head, (tumour, hardness): (&Tumour, &Hardness), geometry: &Geometry, truth: &mut [u16]) {
    let [depth, height, width] = geometry.size;
    for line in 0..depth * height {
        if let Some(span) = head.cochlea(geometry, line / height, line % height) {
            truth[line * width..][span].fill(2);
        }
    }
    let [d, h, w] = tumour.bounds(geometry);
    for slice in d {
        for (row, column) in h.clone().flat_map(|row| w.clone().map(move |column| (row, column))) {
            let point = geometry.to_patient(VoxelIndex([slice as f64, row as f64, column as f64])).0;
            if hardness.drawn(tumour, point, tumour.distance(point).0) < 0.0 {
                truth[(slice * height + row) * width + column] = 1;
            }
        }
    }
}
