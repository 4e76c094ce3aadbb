//! NumPy's arrays, `.npy` and `.npz`: label maps of other programs, `[D, H, W]`. They say nothing of where they lie.

use std::io::{Cursor, Read as _};
use std::path::Path;

use ::zip::ZipArchive;

use super::stream::open as open_bytes;
use super::{Layout, Opened, Scalar, Stream, bad_header, several_volumes, unsupported_type};
use crate::reading::{self, Held};
use crate::{Geometry, Reject, container};

/// The bytes that an array begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The length in bytes that no header of an array of three axes has.
const LONGEST: usize = 1 << 16;

/// Opens a label map on a grid of 1 mm at the origin.
pub(super) fn open(path: &Path) -> Result<Opened, Reject> {
    let array = match path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz")) {
        true => only_member(path)?,
        false => container::hold(path).map_err(|error| reading::refused(&error))?,
    };
    let Header { scalar, big_endian, fortran, shape, offset } = header(&array)?;
    let shape = match shape[..] {
        [depth, height, width] => [depth, height, width],
        [volumes, _, _, _] => {
            let hint = "one whole number a voxel, [D, H, W], is a mask: of probabilities write the labels that they come to";
            let reject = several_volumes(&format!("an array of {} axes with {volumes} volumes", shape.len()));
            return Err(Reject { hint: hint.to_owned(), ..reject });
        }
        _ => return Err(bad_header(format!("an array of 3 axes [D, H, W] expected, {shape:?} found"))),
    };
    let count = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).filter(|count| *count > 0);
    let wanted = count.and_then(|count| count.checked_mul(scalar.bytes()));
    let voxels = array.get(offset..).unwrap_or_default();
    if wanted != Some(voxels.len()) {
        let message = format!("{wanted:?} bytes for an array of {shape:?} expected, {} found", voxels.len());
        return Err(Reject::new(
            "TRUNCATED",
            message,
            "the file may be damaged: write it again from its source",
        ));
    }
    let room = reading::room(voxels.len() as u64).map_err(|error| reading::refused(&error))?;
    let voxels = if fortran { turned(voxels, shape, scalar.bytes()) } else { voxels.to_vec() };
    Ok(Opened {
        geometry: Geometry::axis_aligned(shape, [1.0; 3]),
        layout: Layout::plain(scalar, big_endian),
        volumes: 1,
        stream: Stream::of(Held::new(voxels, room)),
        beside: None,
        notes: Vec::new(),
    })
}

/// The refusal of an array as a scan.
pub(super) fn no_geometry() -> Reject {
    let message =
        "a scan with spacing and place in the patient expected, an array of NumPy, which has neither, found";
    Reject::new(
        "NO_GEOMETRY",
        message,
        "write it as NIfTI, NRRD or MetaImage; arrays are read as label maps of scans",
    )
}

/// The one array of an archive of arrays.
fn only_member(path: &Path) -> Result<Held, Reject> {
    let (_, length) = open_bytes(path)?;
    let bytes = container::hold(path).map_err(|error| reading::refused(&error))?;
    let damaged =
        |error: &dyn std::fmt::Display| bad_header(format!("an archive of arrays expected: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(&bytes[..])).map_err(|error| damaged(&error))?;
    if archive.len() != 1 {
        let message = format!("one array expected, {} found", archive.len());
        let hint = "write the mask alone: `numpy.savez_compressed(path, mask)`";
        return Err(Reject::new("SEVERAL_ARRAYS", message, hint));
    }
    let mut member = archive.by_index(0).map_err(|error| damaged(&error))?;
    let size = member.size();
    Stream::can_unpack(size, length)?;
    let mut room = reading::room(0).map_err(|error| reading::refused(&error))?;
    room.grow(size).map_err(|error| reading::refused(&error))?;
    let mut array = Vec::new();
    array.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX)).map_err(|_| {
        Reject::new("OUT_OF_MEMORY", format!("no room for {size} bytes"), "give the run more memory")
    })?;
    // One more byte than was declared is asked for: it tells that the declared size was a lie.
    member
        .by_ref()
        .take(size.saturating_add(1))
        .read_to_end(&mut array)
        .map_err(|error| Stream::broken(&error))?;
    if array.len() as u64 != size {
        return Err(bad_header(format!("an array of {size} bytes expected, {} found", array.len())));
    }
    Ok(Held::new(array, room))
}

/// The content of an array's header.
#[derive(Debug, PartialEq)]
struct Header {
    scalar: Scalar,
    big_endian: bool,
    /// Whether the first axis runs fastest.
    fortran: bool,
    shape: Vec<usize>,
    /// The place where the numbers begin.
    offset: usize,
}

fn header(array: &[u8]) -> Result<Header, Reject> {
    let no_array = || bad_header("an array of NumPy expected (`\\x93NUMPY`), another file found");
    let rest = array.strip_prefix(MAGIC).ok_or_else(no_array)?;
    let (start, length) = match *rest {
        [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(no_array()),
    };
    let offset = start + length.min(LONGEST);
    let text =
        array.get(start..offset).and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(no_array)?;
    let value = |name: &str| {
        let after = text.split_once(&format!("'{name}':"))?.1;
        Some(after.trim_start())
    };
    let unknown = |what: &str| bad_header(format!("`{what}` in the header of an array expected, none found"));
    let kind = value("descr").and_then(|text| text.strip_prefix('\'')).ok_or_else(|| unknown("descr"))?;
    let kind = kind.split('\'').next().unwrap_or_default();
    let (order, kind) = kind.split_at_checked(1).ok_or_else(|| unknown("descr"))?;
    let scalar = match kind {
        "b1" | "u1" => Scalar::U8,
        "i1" => Scalar::I8,
        "u2" => Scalar::U16,
        "i2" => Scalar::I16,
        "u4" => Scalar::U32,
        "i4" => Scalar::I32,
        "u8" => Scalar::U64,
        "i8" => Scalar::I64,
        "f4" => Scalar::F32,
        "f8" => Scalar::F64,
        other => return Err(unsupported_type(&format!("`{other}`"))),
    };
    let fortran = value("fortran_order").ok_or_else(|| unknown("fortran_order"))?.starts_with("True");
    let shape =
        value("shape").and_then(|text| text.strip_prefix('(')).and_then(|text| text.split(')').next());
    let lengths =
        shape.ok_or_else(|| unknown("shape"))?.split(',').map(str::trim).filter(|text| !text.is_empty());
    let shape: Vec<usize> = lengths
        .map(|text| {
            text.parse().map_err(|_| bad_header(format!("a length of an axis expected, {text:?} found")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Header { scalar, big_endian: order == ">", fortran, shape, offset })
}

/// Puts voxels whose first axis runs fastest in the order in which the last one does.
fn turned(voxels: &[u8], [depth, height, width]: [usize; 3], bytes: usize) -> Vec<u8> {
    let mut turned = Vec::with_capacity(voxels.len());
    for d in 0..depth {
        for h in 0..height {
            for w in 0..width {
                let at = ((w * height + h) * depth + d) * bytes;
                turned.extend_from_slice(voxels.get(at..at + bytes).unwrap_or_default());
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ::zip::ZipWriter;
    use ::zip::write::SimpleFileOptions;

    use super::super::{read_labels, read_scan};
    use super::*;

    /// An array as NumPy writes it.
    fn array(descr: &str, fortran: &str, shape: &str, voxels: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.into_bytes());
        bytes.extend(voxels);
        bytes
    }

    fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<u16>, Reject> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_scan(&path).unwrap_err().code, "NO_GEOMETRY");
        read_labels(&path).map(|labels| {
            assert_eq!(labels.size(), [1, 2, 3]);
            labels.voxels().to_vec()
        })
    }

    #[test]
    fn arrays_are_label_maps_whatever_their_type_and_order() {
        let plain = array("|u1", "False", "(1, 2, 3)", &[0, 1, 2, 3, 4, 5]);
        assert_eq!(read("a.npy", &plain).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(read("a.npz", &archive(&[("arr_0.npy", plain.clone())])).unwrap(), [0, 1, 2, 3, 4, 5]);
        let turned = array("|u1", "True", "(1, 2, 3)", &[0, 3, 1, 4, 2, 5]);
        assert_eq!(read("a.npy", &turned).unwrap(), [0, 1, 2, 3, 4, 5]);
        let big: Vec<u8> = (0..6u16).flat_map(u16::to_be_bytes).collect();
        assert_eq!(read("a.npy", &array(">i2", "False", "(1, 2, 3)", &big)).unwrap(), [0, 1, 2, 3, 4, 5]);
        let floats: Vec<u8> = (0..6u8).flat_map(|n| f64::from(n).to_le_bytes()).collect();
        assert_eq!(read("a.npy", &array("<f8", "False", "(1, 2, 3)", &floats)).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(read("a.npy", &array("|b1", "False", "(1, 2, 3)", &[0, 1, 1, 0, 0, 1])).unwrap()[1], 1);
    }

    #[test]
    fn what_is_no_mask_is_named() {
        let code = |name: &str, bytes: &[u8]| read(name, bytes).unwrap_err().code.to_string();
        let plain = || array("|u1", "False", "(1, 2, 3)", &[0; 6]);
        let both = [("a.npy", plain()), ("b.npy", plain())];
        assert_eq!(code("a.npz", &archive(&both)), "SEVERAL_ARRAYS");
        assert_eq!(code("a.npy", &array("<f4", "False", "(2, 1, 2, 3)", &[0; 48])), "SEVERAL_VOLUMES");
        assert_eq!(
            code("a.npy", &array("<f4", "False", "(1, 2, 3)", &0.5f32.to_le_bytes().repeat(6))),
            "NOT_A_LABEL_MAP"
        );
        assert_eq!(code("a.npy", &array("|O", "False", "(1, 2, 3)", &[0; 6])), "UNSUPPORTED_PIXEL_FORMAT");
        assert_eq!(code("a.npy", &array("|u1", "False", "(1, 2, 999999999999)", &[0; 6])), "TRUNCATED");
        assert_eq!(code("a.npy", &array("|u1", "False", "(1, 2, -3)", &[0; 6])), "BAD_HEADER");
        let whole = plain();
        for end in 0..whole.len() {
            assert!(read("a.npy", &whole[..end]).is_err(), "{end}");
        }
        let packed = archive(&[("a.npy", whole)]);
        for end in (0..packed.len()).step_by(7) {
            assert!(read("a.npz", &packed[..end]).is_err(), "{end}");
        }
    }
}
