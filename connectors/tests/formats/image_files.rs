//! NIfTI files as programs leave them: pairs, what follows the packed stream, scaled labels, forms that disagree.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tomoflow_connectors::dicom::{Record, Walk, read_record};
use tomoflow_connectors::imagefile::{ImageFile, headers_of, read_image_file, read_labels, read_scan};
use tomoflow_connectors::nifti::write_scan;
use tomoflow_connectors::{Geometry, Scan};

/// A header of three voxels of a data type, 1 mm apart.
fn header(datatype: i16, bits: i16) -> Vec<u8> {
    let mut bytes = vec![0; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    for (axis, n) in [3i16, 3, 1, 1, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * axis, &n.to_le_bytes());
        put(76 + 4 * axis, &1f32.to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    put(108, &352f32.to_le_bytes());
    put(344, b"n+1\0");
    bytes
}

fn float(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn shorts() -> Vec<u8> {
    [header(4, 16), [7i16, -3, 700].into_iter().flat_map(i16::to_le_bytes).collect()].concat()
}

/// The same file, as a header and its voxels.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let mut whole = shorts();
    let voxels = whole.split_off(352);
    whole.truncate(348);
    whole[345] = b'i';
    float(&mut whole, 108, 0.0);
    (whole, voxels)
}

fn kept(path: &Path) -> ImageFile {
    read_image_file(path).unwrap().unwrap().unwrap()
}

#[test]
fn members_and_bytes_after_the_packed_stream_are_read_past() {
    let bytes = shorts();
    let members: Vec<u8> = bytes.chunks(100).flat_map(gzip).collect();
    for tail in [&b""[..], &[0; 4096], b"text after the stream"] {
        let folder = folder(&[("a.nii.gz", &[&members[..], tail].concat())]);
        let path = folder.path().join("a.nii.gz");
        assert_eq!(read_scan(&path).unwrap().voxels(), [7.0, -3.0, 700.0]);
        kept(&path);
    }
    let cut = gzip(&bytes);
    let folder = folder(&[("a.nii.gz", &cut[..cut.len() / 2])]);
    assert_eq!(read_scan(&folder.path().join("a.nii.gz")).unwrap_err().code, "TRUNCATED");
}

#[test]
fn pairs_are_read_packed_or_not() {
    let (header, voxels) = pair();
    let (packed, packed_voxels) = (gzip(&header), gzip(&voxels));
    for files in [
        [("a.hdr", &header), ("a.img", &voxels)],
        [("a.hdr.gz", &packed), ("a.img.gz", &packed_voxels)],
        [("a.hdr", &header), ("a.img.gz", &packed_voxels)],
        [("a.HDR", &header), ("a.IMG", &voxels)],
    ] {
        let folder = folder(&files.map(|(name, bytes)| (name, bytes.as_slice())));
        let path = folder.path().join(files[0].0);
        assert_eq!(read_scan(&path).unwrap().voxels(), [7.0, -3.0, 700.0], "{}", files[0].0);
        let before = kept(&path).digest;
        if files[1].0 == "a.img" {
            // A change of the voxels is one of the header.
            assert!(headers_of(&folder.path().join("a.img")).eq([path.as_path()]));
            std::fs::write(folder.path().join("a.img"), [1, 0, 2, 0, 3, 0]).unwrap();
            assert_ne!(kept(&path).digest, before);
        }
    }
}

#[test]
fn a_header_without_its_voxels_or_of_another_program_is_told() {
    let (header, _) = pair();
    let mut analyze = header.clone();
    analyze[344..348].fill(0);
    let folder = folder(&[("a.hdr", &header), ("b.hdr", &analyze), ("c.hdr", b"#?RADIANCE")]);
    let read = |name: &str| read_image_file(&folder.path().join(name)).unwrap();
    let reject = read("a.hdr").unwrap().unwrap_err();
    assert_eq!(reject.code, "TRUNCATED");
    assert!(reject.message.contains("`a.img`"), "{reject}");
    let reject = read("b.hdr").unwrap().unwrap_err();
    assert!(reject.code == "UNSUPPORTED_ENCODING" && reject.message.contains("ANALYZE"), "{reject}");
    assert_eq!(read("c.hdr"), None);
    assert!(matches!(read_record(&folder.path().join("c.hdr")).unwrap(), Record::Skip { .. }));
}

fn labels(datatype: i16, bits: i16, voxels: &[u8], slope: f32) -> Result<Vec<u16>, (String, String)> {
    let mut bytes = header(datatype, bits);
    float(&mut bytes, 112, slope);
    bytes.extend(voxels);
    let folder = folder(&[("a.nii", &bytes)]);
    let read = read_labels(&folder.path().join("a.nii"));
    read.map(|labels| labels.into_voxels()).map_err(|reject| (reject.message, reject.hint))
}

#[test]
fn labels_that_were_stored_as_scaled_integers_are_rounded() {
    // Values of 0 to 2 in 8 bits: 1 lies between two steps.
    assert_eq!(labels(2, 8, &[0, 128, 255], 2.0 / 255.0), Ok(vec![0, 1, 2]));
    assert_eq!(labels(2, 8, &[0, 127, 255], 2.0 / 255.0), Ok(vec![0, 1, 2]));
    let floats = |values: [f32; 3]| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
    assert_eq!(labels(16, 32, &floats([0.0, 0.999_999_9, 2.0]), 1.0), Ok(vec![0, 1, 2]));
    let (message, hint) = labels(2, 8, &[0, 64, 255], 2.0 / 255.0).unwrap_err();
    assert!(message.contains("slope 0.00784") && hint.contains("scl_slope"), "{message} {hint}");
    assert!(labels(2, 8, &[0, 1, 2], 0.5).is_err());
    let (_, hint) = labels(16, 32, &floats([0.0, 0.5, 1.0]), 1.0).unwrap_err();
    assert!(hint.contains("probabilities"), "{hint}");
    let (_, hint) = labels(16, 32, &floats([f32::NAN, 0.0, 1.0]), 1.0).unwrap_err();
    assert!(hint.contains("write 0"), "{hint}");
}

#[test]
fn forms_that_disagree_are_noted() {
    let notes = |shift: f32| {
        let mut bytes = shorts();
        bytes[252] = 1;
        bytes[254] = 2;
        for (axis, value) in [1.0, 1.0, 1.0].into_iter().enumerate() {
            float(&mut bytes, 280 + 20 * axis, value);
        }
        float(&mut bytes, 292, shift);
        let folder = folder(&[("a.nii", &bytes)]);
        kept(&folder.path().join("a.nii")).notes
    };
    assert!(notes(0.05).is_empty());
    assert_eq!(notes(10.0), ["FORMS_DISAGREE: sform and qform lie up to 10.0 mm apart, sform is taken"]);
}

/// The qform's axes, and its origin, of a written file, in LPS.
fn qform(bytes: &[u8]) -> ([f64; 3], i16) {
    let at = |at: usize| f64::from(f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    ([-at(268), -at(272), at(276)], i16::from_le_bytes([bytes[252], bytes[253]]))
}

#[test]
fn a_sheared_grid_is_written_with_a_turn_about_its_middle() {
    let mut geometry = Geometry::axis_aligned([9, 2, 3], [3.0, 1.0, 1.0]);
    geometry.steps_mm[0] = [0.0, 0.8, 3.0];
    let written = |geometry: &Geometry| -> (PathBuf, TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let voxels = (0..geometry.voxels()).map(|value| value as f32).collect();
        write_scan(&path, &Scan::new(geometry.clone(), voxels).unwrap()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        (path, folder, bytes)
    };
    let (path, _folder, bytes) = written(&geometry);
    let (origin, code) = qform(&bytes);
    assert_eq!(code, 1);
    // The middle is four slices up: 3.2 mm across, and a little less along than steps of this length go.
    let length = 3f64.hypot(0.8);
    let wanted = [0.0, 3.2, 4.0 * (3.0 - length)];
    assert!(origin.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{origin:?}");
    // What is read is the sheared grid itself, and the note says that others see another one.
    let read = read_scan(&path).unwrap();
    assert!((read.geometry().steps_mm[0][1] - 0.8).abs() < 1e-6);
    assert!(kept(&path).notes[0].starts_with("FORMS_DISAGREE"));
    // Rounded positions are no shear that matters.
    geometry.steps_mm[0] = [0.0, 0.002, 3.0];
    let (path, _folder, bytes) = written(&geometry);
    assert_eq!((qform(&bytes).1, kept(&path).notes), (1, Vec::new()));
}

#[test]
fn what_macos_leaves_beside_files_is_passed_over_and_counted() {
    let folder = folder(&[("a.nii", &shorts()), ("._a.nii", b"\0\x05\x16\x07"), (".hidden.nii", &shorts())]);
    let remnants = folder.path().join("__MACOSX");
    std::fs::create_dir(&remnants).unwrap();
    std::fs::write(remnants.join("b.nii"), shorts()).unwrap();
    let mut tar = tar::Builder::new(std::fs::File::create(folder.path().join("c.tar")).unwrap());
    for name in ["x/d.nii", "x/._d.nii", "__MACOSX/x/d.nii"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty()).unwrap();
    }
    tar.finish().unwrap();
    let mut walk = Walk::new(folder.path()).unwrap();
    let found: Vec<PathBuf> =
        walk.by_ref().map(|file| file.path.strip_prefix(folder.path()).unwrap().to_owned()).collect();
    assert_eq!(found, [".hidden.nii", "a.nii", "c.tar/x/d.nii"].map(PathBuf::from));
    assert_eq!(walk.remnants(), 4);
}

#[test]
fn voxels_are_of_the_folder_of_their_header() {
    let text =
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 1\nElementType = MET_UCHAR\nElementDataFile = a.raw\n";
    let folder = folder(&[("secret", b"root:x:0:0")]);
    let at = |name: &str| folder.path().join(name);
    for name in ["site/case", "site/.git/objects", "site/other"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    let code = || read_image_file(&at("site/case/a.mhd")).unwrap().unwrap().map_err(|reject| reject.code);
    let link = |target: &str, name: &str| {
        let _ = std::fs::remove_file(at(name));
        symlink(target, at(name)).unwrap();
    };
    std::fs::write(at("site/case/a.mhd"), text).unwrap();
    std::fs::write(at("site/case/voxels"), [1, 2, 3, 4]).unwrap();
    link("voxels", "site/case/a.raw");
    assert!(code().is_ok());
    // A file of the machine that an archive of others points at is no scan.
    link("../../secret", "site/case/a.raw");
    assert_eq!(code(), Err("VOXELS_ELSEWHERE".to_owned()));
    link(at("secret").to_str().unwrap(), "site/case/a.raw");
    assert_eq!(code(), Err("VOXELS_ELSEWHERE".to_owned()));
    // Neither is it one where the header is a link into the same archive.
    std::fs::rename(at("site/case/a.mhd"), at("site/other/a.mhd")).unwrap();
    link("../other/a.mhd", "site/case/a.mhd");
    assert_eq!(code(), Err("VOXELS_ELSEWHERE".to_owned()));
    // The header and its voxels are kept as git-annex keeps both.
    std::fs::rename(at("site/other/a.mhd"), at("site/.git/objects/1")).unwrap();
    std::fs::rename(at("site/case/voxels"), at("site/.git/objects/2")).unwrap();
    link("../.git/objects/1", "site/case/a.mhd");
    link("../.git/objects/2", "site/case/a.raw");
    assert!(code().is_ok());
}
