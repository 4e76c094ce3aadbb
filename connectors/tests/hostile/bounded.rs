//! Files that would come to gigabytes, read by a process that may not have them: each ends by name, and none ends it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use rayon::prelude::*;
use tomoflow_connectors::dicom::{HeaderReader, Record, Walk, read_record};
use tomoflow_connectors::{deeplesion, imagefile, reading};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::files::{SliceFile, element};

/// The bytes that reading may hold.
const MEMORY: u64 = 64 << 20;
/// The bytes that the process may have beside it: its program, stacks of threads, buffers.
const BESIDE: u64 = 192 << 20;
/// The variable that tells the child where the files are.
const FOLDER: &str = "TOMOFLOW_HOSTILE_FOLDER";

const GIGABYTE: u64 = 1 << 30;
const ROWS: (u16, u16) = (0x0028, 0x0010);

/// Writes zeros into a packer.
fn zeros(packer: &mut impl Write, bytes: u64) {
    let piece = vec![0; 1 << 20];
    (0..bytes >> 20).for_each(|_| packer.write_all(&piece).unwrap());
}

/// A file whose end is never written, and takes no room.
fn sparse(path: &Path, head: &[u8], bytes: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(head).unwrap();
    file.set_len(bytes).unwrap();
}

fn zip_of(path: &Path, members: &[(&str, &[u8], u64)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, head, more) in members {
        zip.start_file(*name, SimpleFileOptions::default().compression_level(Some(1))).unwrap();
        zip.write_all(head).unwrap();
        zeros(&mut zip, *more);
    }
    zip.finish().unwrap();
}

/// A list of members all of which lie at the same bytes.
fn overlapping(path: &Path, members: u16) {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    zeros(&mut packer, 32 << 20);
    let data = packer.finish().unwrap();
    let both =
        |bytes: &mut Vec<u8>, numbers: &[u32]| numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    let sizes = [0, data.len() as u32, 32 << 20];
    let mut file = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0".to_vec();
    both(&mut file, &sizes);
    file.extend(b"\x05\0\0\0m0000");
    file.extend(&data);
    let start = file.len() as u32;
    for number in 0..members {
        file.extend(b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0");
        both(&mut file, &sizes);
        file.extend(b"\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend(format!("m{number:04}").bytes());
    }
    let length = file.len() as u32 - start;
    file.extend(b"PK\x05\x06\0\0\0\0");
    [members, members].iter().for_each(|n| file.extend(n.to_le_bytes()));
    both(&mut file, &[length, start]);
    file.extend([0, 0]);
    fs::write(path, file).unwrap();
}

/// An archive that says that it has millions of millions of members.
fn numberless(path: &Path) {
    let mut file = File::create(path).unwrap();
    file.seek(SeekFrom::Start(8 * GIGABYTE)).unwrap();
    let record = file.stream_position().unwrap();
    let mut end = b"PK\x06\x06".to_vec();
    end.extend(44u64.to_le_bytes());
    end.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Members here and in all, the bytes of their list, and where it begins.
    for number in [100_000_000u64, 100_000_000, 7 * GIGABYTE, GIGABYTE] {
        end.extend(number.to_le_bytes());
    }
    end.extend(b"PK\x06\x07\0\0\0\0");
    end.extend(record.to_le_bytes());
    end.extend(1u32.to_le_bytes());
    end.extend(b"PK\x05\x06\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0");
    file.write_all(&end).unwrap();
}

/// A slice whose data set is deflated, behind it zeros without end.
fn deflated(bytes: u64) -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    file.extend(element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.1.99"));
    let mut packer = DeflateEncoder::new(file, Compression::fast());
    packer.write_all(&SliceFile::new(1).dataset()).unwrap();
    zeros(&mut packer, bytes);
    packer.finish().unwrap()
}

/// A slice with a sequence of so many empty items, eight bytes each.
fn items(count: usize) -> Vec<u8> {
    let mut bytes = SliceFile::new(1).bytes();
    let at = bytes.windows(4).position(|four| four == [0x10, 0, 0x20, 0]).unwrap();
    let mut sequence = [&[0x08, 0, 0x40, 0x11][..], b"SQ\0\0", &[0xFF; 4]].concat();
    sequence.extend([0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0].repeat(count));
    sequence.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    bytes.splice(at..at, sequence);
    bytes
}

fn gzip(head: &[u8], more: u64) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(head).unwrap();
    zeros(&mut packer, more);
    packer.finish().unwrap()
}

fn nifti(lengths: [i16; 3]) -> Vec<u8> {
    let mut header = vec![0; 352];
    header[..4].copy_from_slice(&348i32.to_le_bytes());
    for (place, length) in [3].into_iter().chain(lengths).chain([1; 4]).enumerate() {
        header[40 + 2 * place..42 + 2 * place].copy_from_slice(&i16::to_le_bytes(length));
    }
    header[70] = 2;
    header[72] = 8;
    (80..92).step_by(4).for_each(|at| header[at..at + 4].copy_from_slice(&1f32.to_le_bytes()));
    header[108..112].copy_from_slice(&352f32.to_le_bytes());
    header[344..348].copy_from_slice(b"n+1\0");
    header
}

fn write_all(folder: &Path) {
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    (1..4).for_each(|number| put(&format!("sound{number}.dcm"), &SliceFile::new(number).bytes()));
    let slice = SliceFile::new(9).bytes();
    sparse(&folder.join("movie.mp4"), b"\0\0\0\x18ftypmp42", 20 * GIGABYTE);
    sparse(&folder.join("giant.dcm"), &slice, 20 * GIGABYTE);
    sparse(&folder.join("giant.csv"), b"file,case\n", 20 * GIGABYTE);
    sparse(&folder.join("zeros.zip"), b"", 20 * GIGABYTE);
    sparse(&folder.join("zeros.tar"), b"", 20 * GIGABYTE);
    zip_of(&folder.join("bomb.zip"), &[("x.dcm", &slice, GIGABYTE), ("y.nii", &nifti([1024; 3]), GIGABYTE)]);
    let inner = folder.join("inner.zip");
    zip_of(&inner, &[("x.dcm", &slice, GIGABYTE)]);
    zip_of(&folder.join("nested.zip"), &[("inner.zip", &fs::read(&inner).unwrap(), 0), ("z.dcm", &slice, 0)]);
    overlapping(&folder.join("overlapping.zip"), 2000);
    numberless(&folder.join("numberless.zip"));
    for number in 0..6 {
        put(&format!("deflated{number}.dcm"), &deflated(GIGABYTE));
        put(&format!("items{number}.dcm"), &items(2_000_000));
        sparse(&folder.join(format!("fifty{number}.dcm")), &slice, 50 << 20);
    }
    put("bomb.nii.gz", &gzip(&nifti([1024; 3]), GIGABYTE));
    put("promise.nii", &nifti([32_767; 3]));
    put("promise.nii.gz", &gzip(&nifti([32_767; 3]), 1 << 20));
    put("promise.mha", b"ObjectType = Image\nNDims = 3\nDimSize = 10000 10000 10000\nElementType = MET_DOUBLE\nElementDataFile = LOCAL\n");
    put("lines.mha", &b"a = b\n".repeat(170_000));
    let mut wide = SliceFile::new(1);
    wide.set(ROWS, b"US", vec![0xFF; 2]).set((0x0028, 0x0011), b"US", vec![0xFF; 2]);
    wide.set((0x0028, 0x0008), b"IS", b"2147483647".to_vec());
    put("wide.dcm", &wide.bytes());
    let mut long = SliceFile::new(1);
    long.set((0x0040, 0xA160), b"UT", vec![b'A'; 40 << 20]);
    put("long.dcm", &long.bytes());
}

/// The outcome of reading a file.
fn outcome(path: &Path) -> String {
    match read_record(path) {
        Ok(Record::Instance(instance)) => instance.refusal.unwrap_or_else(|| "an image".to_owned()),
        Ok(Record::Skip { code }) => code,
        Ok(Record::Image(image)) => image.map_or_else(|reject| reject.code, |_| "a volume".to_owned()),
        Ok(other) => format!("{other:?}"),
        Err(error) if reading::is_over(&error) => "over".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Reads all files at once, as a look at an archive does, and then those that found no room.
fn read_all(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut walk = Walk::new(folder).unwrap();
    let mut files: Vec<PathBuf> = walk.by_ref().map(|file| file.path).collect();
    files.retain(|path| path.extension().is_none_or(|ending| ending != "csv"));
    let busy = "no room to read a file at the moment";
    let mut found: Vec<(PathBuf, String)> =
        files.par_iter().map(|path| (path.clone(), outcome(path))).collect();
    for (path, outcome) in found.iter_mut().filter(|(_, outcome)| outcome == busy) {
        *outcome = self::outcome(path);
    }
    for path in &files {
        let mut reader = HeaderReader::default();
        let _ = reader.read(path);
        let _ = imagefile::read_image_head(path, |_| true);
    }
    let notes = walk.notes().into_iter().map(|note| (note.path, note.source.to_string()));
    found.extend(notes);
    let table = deeplesion::read_info(&folder.join("giant.csv")).unwrap_err();
    found.push((folder.join("giant.csv"), table.to_string()));
    found
}

/// The part that runs in the child: the test itself, which finds the folder in its environment.
fn child(folder: &Path) {
    let _allowed = reading::allow(MEMORY);
    for (path, outcome) in read_all(folder) {
        println!("found {}: {outcome}", path.strip_prefix(folder).unwrap().display());
    }
    assert_eq!(reading::held(), 0);
}

#[test]
fn hostile_files_end_by_name_in_a_process_with_a_hard_limit() {
    let _alone = crate::noting::alone();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path());
    let limit = (MEMORY + BESIDE) >> 10;
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {limit}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "bounded::hostile_files_end_by_name_in_a_process_with_a_hard_limit"])
        .env(FOLDER, folder.path())
        .env("RAYON_NUM_THREADS", "4")
        // The allocator is bounded as the program itself bounds it: glibc reserves addresses for each heap,
        // and keeps what was freed.
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_MMAP_THRESHOLD_", "1048576")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    let found = |name: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(&format!("found {name}: ")));
        line.unwrap_or_else(|| panic!("{name} expected in\n{out}")).to_owned()
    };
    for (name, expected) in [
        ("sound1.dcm", "an image"),
        ("nested.zip/z.dcm", "an image"),
        ("fifty0.dcm", "an image"),
        ("fifty5.dcm", "an image"),
        ("long.dcm", "an image"),
        ("movie.mp4", "NOT_DICOM"),
        ("nested.zip/inner.zip", "NOT_DICOM"),
        ("giant.dcm", "over"),
        ("bomb.zip/x.dcm", "over"),
        ("bomb.zip/y.nii", "over"),
        ("deflated0.dcm", "over"),
        ("items3.dcm", "over"),
        ("bomb.nii.gz", "a volume"),
        ("promise.nii", "TRUNCATED"),
        ("promise.nii.gz", "IMPLAUSIBLE_SIZE"),
        ("promise.mha", "TRUNCATED"),
        ("lines.mha", "BAD_HEADER"),
        ("wide.dcm", "TRUNCATED"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
    assert!(found("overlapping.zip").contains("some lie in others"));
    assert!(found("numberless.zip").contains("a list of members so long"));
    assert!(found("giant.csv").contains("raise it"));
    found("zeros.zip");
}
