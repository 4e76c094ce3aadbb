//! Reading of files by their names: which format reads them, and what the index keeps of them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ImageHead, Opened, npz, of_labels, png};
use crate::geometry::Grid;
use crate::{Digest, LabelMap, Reject, Scan, container, metaimage, nifti, nrrd, reading};

/// The record that the index keeps of one file that holds a volume, or one slice of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageFile {
    /// The grid of the file; that of a PNG is one slice of 1 mm at the origin.
    pub grid: Grid,
    /// The digest of the grid and the voxels.
    pub digest: Digest,
    /// The notes on what is worth knowing: `FORMS_DISAGREE: …`.
    pub notes: Vec<String>,
}

/// The way a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Nifti,
    /// The header of a NIfTI whose voxels lie beside it.
    NiftiPair,
    Metaimage,
    Nrrd,
    Png,
    /// An array of NumPy, or an archive of one.
    Array,
}

/// The endings of files that hold the voxels of a header beside them.
const VOXELS: [&str; 5] = ["raw", "zraw", "raw.gz", "img", "bin"];

fn format(path: &Path) -> Option<Format> {
    let name = path.file_name()?.as_bytes().to_ascii_lowercase();
    let ends = |ending: &str| name.ends_with(ending.as_bytes());
    let formats = [
        (".nii", Format::Nifti),
        (".nii.gz", Format::Nifti),
        (".hdr", Format::NiftiPair),
        (".hdr.gz", Format::NiftiPair),
        (".mha", Format::Metaimage),
        (".mhd", Format::Metaimage),
        (".nrrd", Format::Nrrd),
        (".nhdr", Format::Nrrd),
        (".png", Format::Png),
        (".npz", Format::Array),
        (".npy", Format::Array),
    ];
    formats.into_iter().find_map(|(ending, format)| ends(ending).then_some(format))
}

/// Whether a file is one of these formats, by its name: `.nii`, `.nii.gz`, `.hdr`, `.hdr.gz`, `.mha`, `.mhd`,
/// `.nrrd`, `.nhdr`, `.png`, `.npz`, `.npy`. Other programs call headers `.hdr`, too.
pub fn is_image_file(path: &Path) -> bool {
    format(path).is_some()
}

/// Whether a file is an array of NumPy by its name, `.npz` or `.npy`: it does not say where it lies.
pub fn is_array(path: &Path) -> bool {
    format(path) == Some(Format::Array)
}

fn open(path: &Path) -> Result<Opened, Reject> {
    match format(path) {
        Some(Format::Nifti | Format::NiftiPair) => nifti::open(path),
        Some(Format::Metaimage) => metaimage::open(path),
        Some(Format::Nrrd) => nrrd::open(path),
        Some(Format::Png) => png::open(path),
        Some(Format::Array) => npz::open(path),
        None => {
            let hint = "rename it as what it is";
            Err(Reject::new(
                "UNKNOWN_FORMAT",
                "`.nii`, `.mha`, `.nrrd`, `.png` or, of labels, `.npz` expected",
                hint,
            ))
        }
    }
}

/// Reads a scan.
///
/// # Units
/// mm, in LPS. The samples of a PNG are its values.
///
/// # Errors
/// A [`Reject`] of its format, or `UNKNOWN_FORMAT`.
pub fn read_scan(path: &Path) -> Result<Scan, Reject> {
    if is_array(path) {
        return Err(npz::no_geometry());
    }
    open(path)?.scan()
}

/// Reads the scans of a file that holds several volumes, in the order of the file; a file of one volume gives
/// that one.
///
/// # Errors
/// The errors of [`read_scan`], but for `SEVERAL_VOLUMES`.
pub fn read_scans(path: &Path) -> Result<Vec<Scan>, Reject> {
    if is_array(path) {
        return Err(npz::no_geometry());
    }
    open(path)?.scans()
}

/// The beginning of the note of a file that holds several volumes.
const VOLUMES: &str = "VOLUMES: ";

impl ImageFile {
    /// The number of volumes that the file holds, at least 1.
    pub fn volumes(&self) -> usize {
        let note = self.notes.iter().find_map(|note| note.strip_prefix(VOLUMES));
        note.and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// The notes beside the one on how many volumes the file holds.
    pub fn other_notes(&self) -> Vec<String> {
        self.notes.iter().filter(|note| !note.starts_with(VOLUMES)).cloned().collect()
    }
}

/// Reads a label map: whole numbers from 0 to 65,535.
///
/// # Errors
/// The errors of [`read_scan`], and `NOT_A_LABEL_MAP` for other values.
pub fn read_labels(path: &Path) -> Result<LabelMap, Reject> {
    open(path).and_then(Opened::labels).map_err(of_labels)
}

/// Reads the record that the index keeps of a file; `None` when it is none of these formats, or DICOM under
/// another name.
///
/// # Errors
/// Only the system's errors. What is wrong inside the file is the answer.
pub fn read_image_file(path: &Path) -> io::Result<Option<Result<ImageFile, Reject>>> {
    let Some(format) = format(path) else { return Ok(None) };
    if is_dicom(path)? {
        return Ok(None);
    }
    let opened = open(path);
    if format == Format::NiftiPair && opened.as_ref().is_err_and(|reject| reject.code == "NOT_NIFTI") {
        return Ok(None);
    }
    kept(opened.and_then(|opened| opened.own_voxels(path)).and_then(|opened| {
        let mut notes = opened.notes.clone();
        if opened.volumes > 1 {
            notes.push(format!("{VOLUMES}{}", opened.volumes));
        }
        Ok(ImageFile { grid: Grid::from(&opened.geometry), digest: opened.digest()?, notes })
    }))
}

/// Reads the header of a volume; its voxels are read when `wanted` of their bytes says so. `None` when the
/// file is none of these formats, or one whose slices are no volumes (PNG), or DICOM under another name.
///
/// # Errors
/// Only the system's errors. What is wrong inside the file is the answer.
pub fn read_image_head(
    path: &Path,
    wanted: impl FnOnce(u64) -> bool,
) -> io::Result<Option<Result<ImageHead, Reject>>> {
    let Some(format) = format(path) else { return Ok(None) };
    let name = match format {
        Format::Nifti | Format::NiftiPair => "NIfTI",
        Format::Metaimage => "MetaImage",
        Format::Nrrd => "NRRD",
        Format::Png | Format::Array => return Ok(None),
    };
    if is_dicom(path)? {
        return Ok(None);
    }
    let opened = open(path);
    if format == Format::NiftiPair && opened.as_ref().is_err_and(|reject| reject.code == "NOT_NIFTI") {
        return Ok(None);
    }
    kept(opened.and_then(|opened| opened.own_voxels(path)?.head(name, wanted)))
}

/// The result for a file; an error where there was no room for it, which says nothing of the file.
fn kept<T>(read: Result<T, Reject>) -> io::Result<Option<Result<T, Reject>>> {
    match read.as_ref().err().and_then(reading::passing) {
        Some(error) => Err(error),
        None => Ok(Some(read)),
    }
}

impl Opened {
    /// The opened file, unless its voxels lie where a change of them would not be seen.
    fn own_voxels(self, path: &Path) -> Result<Self, Reject> {
        if self.beside.as_ref().is_some_and(|beside| !companion_paths(path).any(|path| path == *beside)) {
            let message =
                "voxels in the header's file, or beside an `.mhd`, `.nhdr` or `.hdr` of their name, expected";
            let hint = "name both alike, the voxels with the ending `.raw`: a change of them must be seen";
            return Err(Reject::new("VOXELS_ELSEWHERE", message, hint));
        }
        if self.beside.as_ref().is_some_and(|beside| !is_of(beside, path)) {
            let message = "voxels in the header's folder expected, a link that leads out of it found";
            let hint = "where files are kept by links (git-annex, DVC), the header is one as well; else copy the \
                        voxels to where the header lies";
            return Err(Reject::new("VOXELS_ELSEWHERE", message, hint));
        }
        Ok(self)
    }
}

/// Whether voxels, by whatever links, lie below the header's folder; of a header that is a link itself, below the
/// deepest folder that holds both the link and what it leads to. Otherwise a file of this machine that somebody else's
/// archive points at would become voxels.
fn is_of(voxels: &Path, header: &Path) -> bool {
    let (Ok(voxels), Ok(real)) = (voxels.canonicalize(), header.canonicalize()) else { return true };
    let Some(Ok(folder)) = header.parent().map(Path::canonicalize) else { return true };
    let common = folder.ancestors().find(|folder| real.starts_with(folder));
    common.is_some_and(|common| voxels.starts_with(common))
}

/// Whether a file is DICOM, which keeps its magic after a preamble; text and other headers do not reach that
/// far, or have none.
fn is_dicom(path: &Path) -> io::Result<bool> {
    Ok(container::head(path, 132)?.get(128..132) == Some(b"DICM"))
}

/// The paths beside a header (`.mhd`, `.nhdr`, `.hdr`, `.hdr.gz`) at which its voxels may lie.
fn companion_paths(path: &Path) -> impl Iterator<Item = PathBuf> {
    // The endings are compared without a copy, since every file of a walk is asked for them.
    let is = |ending: &OsStr, wanted: &str| ending.eq_ignore_ascii_case(wanted);
    let ending = path.extension();
    let packed = ending.is_some_and(|ending| is(ending, "gz"));
    let pair = if packed { path.file_stem().map(Path::new) } else { Some(path) };
    let pair = pair.filter(|name| name.extension().is_some_and(|ending| is(ending, "hdr")));
    let voxels = pair.map(nifti::voxels_beside).map(|names| names.map(|name| path.with_file_name(name)));
    let is_header = ending.is_some_and(|ending| is(ending, "mhd") || is(ending, "nhdr"));
    let endings = if is_header { &VOXELS[..] } else { &[] };
    endings.iter().map(|ending| path.with_extension(ending)).chain(voxels.into_iter().flatten())
}

/// The files beside a header (`.mhd`, `.nhdr`, `.hdr`) that may hold its voxels: a change of them is a change of it.
pub(crate) fn companions(path: &Path) -> impl Iterator<Item = fs::Metadata> {
    let metadata = |path| fs::metadata(path).ok();
    companion_paths(path).filter_map(metadata).filter(fs::Metadata::is_file)
}

/// The headers whose voxels a file may hold, as far as they are there.
pub fn headers_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let named = move |stem: &[u8], ending: &str| {
        let mut name = OsString::from(OsStr::from_bytes(stem));
        name.push(ending);
        path.with_file_name(name)
    };
    let stem = VOXELS.iter().find_map(|ending| name.strip_suffix(format!(".{ending}").as_bytes()));
    let headers = stem.into_iter().flat_map(move |stem| [".mhd", ".nhdr"].map(|ending| named(stem, ending)));
    let pair = [".img", ".img.gz"].into_iter().find_map(|ending| name.strip_suffix(ending.as_bytes()));
    let pairs = pair.into_iter().flat_map(move |stem| [".hdr", ".hdr.gz"].map(|ending| named(stem, ending)));
    headers.chain(pairs).filter(|header| header.is_file())
}
