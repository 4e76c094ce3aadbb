//! Patients with two series each, in the folders in which the Cancer Imaging Archive hands out its collections.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::identity;
use super::noise::{pick, stream};
use super::scanner::Weighting;
use super::vs::{self, Anatomy, PhantomError, VsPhantom, Written};

/// The names that those who draw give the tumour.
const TUMOUR: [&str; 5] = ["TV", "AN", "VS", "tv l", "Acoustic"];

/// The names that they give the cochlea.
const COCHLEA: [&str; 3] = ["Cochlea", "COCHLEA", "cochlea lt"];

/// A patient as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    /// The T1-weighted series after contrast agent, and its outlines.
    pub t1: Written,
    /// The T2-weighted series, and its outlines.
    pub t2: Written,
}

/// Writes patients as the collection Vestibular-Schwannoma-SEG lies on disk: a folder for each, in it one for the
/// study, and in that one for each series; two series, T1 and T2 (`SeriesDescription` begins with `t1_` or `t2_`), each
/// with a structure set that refers to it, whose first structure is the tumour, whatever it is called.
///
/// # Errors
/// As [`write_archive`](vs::write_archive).
pub fn write_collection(settings: &VsPhantom, folder: &Path) -> Result<Vec<Patient>, PhantomError> {
    vs::check(settings)?;
    let patients = settings.first..settings.first.saturating_add(settings.series);
    patients.into_par_iter().map(|index| write_patient(settings, index, folder)).collect()
}

fn write_patient(settings: &VsPhantom, index: usize, folder: &Path) -> Result<Patient, PhantomError> {
    let anatomy = Anatomy::new(settings, index);
    let write = |weighting| write_series(settings, index, weighting, &anatomy, folder);
    Ok(Patient { t1: write(Weighting::T1)?, t2: write(Weighting::T2)? })
}

fn write_series(
    settings: &VsPhantom,
    index: usize,
    weighting: Weighting,
    anatomy: &Anatomy,
    folder: &Path,
) -> Result<Written, PhantomError> {
    let scan = anatomy.scan(settings, index, weighting);
    let window = vs::window(settings, index, weighting);
    let header = identity::collected(settings.seed, index, weighting, scan.geometry().clone(), window);
    let study = &header.study;
    let study_name = format!("{}-NA-{}-{}", study.date, study.description, last_digits(&study.uid));
    let study_folder = folder.join(&study.patient_id).join(study_name);
    let instance_uids = identity::instance_uids(settings.seed, index, weighting, scan.size()[0]);
    let series_name = format!("{}.000000-{}-{}", header.number, header.description, last_digits(&header.uid));
    let series_folder = made(study_folder.join(series_name))?;
    let from_above = vs::from_above(settings, index);
    let slices = vs::write_slices(&scan, &header, &instance_uids, from_above, |number, _| {
        series_folder.join(format!("1-{number:03}.dcm"))
    })?;
    let series_uid = header.uid.clone();
    let set = vs::structure_set(settings, index, weighting, header, instance_uids.clone());
    let set_name = format!("1.000000-NA-{}", last_digits(&set.series_uid));
    let outlines = made(study_folder.join(set_name))?.join("1-1.dcm");
    let rng = &mut stream(settings.seed, index, &weighting.purpose("structures"));
    vs::write_outlines(&outlines, &set, &anatomy.truth(), &[pick(rng, TUMOUR), pick(rng, COCHLEA)])?;
    Ok(Written { index, series_uid, instance_uids, slices, outlines })
}

fn made(folder: PathBuf) -> Result<PathBuf, PhantomError> {
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(PhantomError::Folder { path: folder, source }),
    }
}

/// Returns what a folder's name holds of a UID.
fn last_digits(uid: &str) -> &str {
    uid.get(uid.len().saturating_sub(5)..).unwrap_or(uid)
}
