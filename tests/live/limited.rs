//! A whole run that may not have more memory than it promises, on an archive that would ask for gigabytes.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use tomoflow::connectors::Digest;
use tomoflow::connectors::table::{Rows, Table, read_rows};

use crate::support::Workplace;
use crate::support::text::Rewrite as _;

/// What the pipeline promises.
const MEMORY: u64 = 128 << 20;
/// What the process may have beside it: its program's own data, stacks of threads, buffers.
const BESIDE: u64 = 192 << 20;
const GIGABYTE: u64 = 1 << 30;

/// The command's output, run by a process whose data (heap, and what it maps for itself) are bounded.
fn bounded(place: &Workplace, arguments: &[&str], bytes: u64) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1").args(arguments).arg(place.pipeline());
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: between fork and exec one system call is made, which reads a record of its own.
    let bounded = unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    bounded.output().unwrap()
}

/// A file whose end is never written, and takes no room.
fn sparse(place: &Workplace, name: &str, head: &[u8], bytes: u64) {
    let mut file = File::create(place.archive().join(name)).unwrap();
    file.write_all(head).unwrap();
    file.set_len(bytes).unwrap();
}

/// Zeros without end, behind a head that says that they are deflated.
fn bomb(head: &[u8]) -> Vec<u8> {
    let mut packer = DeflateEncoder::new(head.to_vec(), Compression::fast());
    let piece = vec![0; 1 << 20];
    (0..512).for_each(|_| packer.write_all(&piece).unwrap());
    packer.finish().unwrap()
}

fn hostile(place: &Workplace) {
    let slices = fs::read_dir(place.archive()).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> =
        slices.filter(|path| path.extension().is_some_and(|ending| ending == "dcm")).collect();
    names.sort();
    let slice = fs::read(&names[0]).unwrap();
    sparse(place, "giant.dcm", &slice, 20 * GIGABYTE);
    sparse(place, "movie.mp4", b"\0\0\0\x18ftypmp42", 20 * GIGABYTE);
    sparse(place, "zeros.zip", b"", 20 * GIGABYTE);
    sparse(place, "zeros.tar", b"", 20 * GIGABYTE);
    for number in 0..6 {
        sparse(place, &format!("long{number}.dcm"), &slice, 50 << 20);
        fs::write(place.archive().join(format!("deflated{number}.dcm")), bomb(&slice[..132])).unwrap();
    }
}

#[test]
fn a_whole_run_stays_within_its_promise() {
    let mut place = Workplace::new(2);
    place.text =
        place.text.rewrite("out = \"out\"", &format!("out = \"out\"\nmemory = \"{} MiB\"", MEMORY >> 20));
    let clean = bounded(&place, &["run"], MEMORY + BESIDE);
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stderr));
    let expected = masks(&place);
    assert!(!expected.is_empty());
    fs::remove_dir_all(place.out()).unwrap();
    hostile(&place);
    let run = bounded(&place, &["run"], MEMORY + BESIDE);
    let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(run.status.success(), "{:?}: {said}", run.status);
    assert!(!said.contains("panicked") && !said.contains("allocation"), "{said}");
    assert_eq!(masks(&place), expected, "{said}");
    // Nothing is left out in silence: the files that no memory holds have a row each.
    let rejects = match read_rows(&place.out().join("tables/rejects"), Table::Rejects).unwrap() {
        Rows::Rejects(rows) => rows,
        other => panic!("{other:?}"),
    };
    let unreadable = rejects.iter().filter(|row| row.code == "UNREADABLE").count();
    assert!(unreadable >= 2, "{rejects:?}");
    let inspected = bounded(&place, &["plan"], MEMORY + BESIDE);
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
}

/// An artifact of zeros under the name that its content gives it; it takes no room on the disk.
fn large_artifact(place: &Workplace, bytes: u64) -> PathBuf {
    let digest = Digest::of_stream(io::repeat(0).take(bytes)).unwrap().to_string();
    let folder = place.out().join("store/artifacts").join(&digest[..2]);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(&digest);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

#[test]
fn verify_stays_within_its_promise_beside_an_artifact_that_is_larger() {
    let mut place = Workplace::new(1);
    place.text =
        place.text.rewrite("out = \"out\"", &format!("out = \"out\"\nmemory = \"{} MiB\"", MEMORY >> 20));
    place.run();
    let verify = |arguments: &[&str]| {
        let found = bounded(&place, &[&["verify"][..], arguments].concat(), MEMORY + BESIDE);
        let said = [found.stdout, found.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (found.status.code(), said.concat())
    };
    let count = |said: &str| {
        let line = said.lines().find_map(|line| line.strip_suffix(" artifacts are what their names say"));
        line.and_then(|count| count.parse::<usize>().ok())
    };
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "{said}");
    let before = count(&said).unwrap();
    let path = large_artifact(&place, 2 * (MEMORY + BESIDE));
    let (code, said) = verify(&[]);
    assert_eq!((code, count(&said)), (Some(0), Some(before + 1)), "{said}");
    // One bit at its very end.
    File::options().write(true).open(&path).unwrap().write_all_at(&[1], 2 * (MEMORY + BESIDE) - 1).unwrap();
    let (code, said) = verify(&["--mend"]);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(code == Some(1) && said.contains(&format!("damaged: artifact {name}")), "{code:?}: {said}");
    assert_eq!(count(&said), Some(before), "{said}");
    assert!(!path.exists(), "what is damaged is taken away");
}

/// What was found, in an order of its own.
fn masks(place: &Workplace) -> Vec<String> {
    let rows = match read_rows(&place.out().join("tables/masks"), Table::Masks).unwrap() {
        Rows::Masks(rows) => rows,
        other => panic!("{other:?}"),
    };
    let mut found: Vec<String> =
        rows.iter().map(|row| format!("{} {} {:?}", row.label_name, row.slice, row.runs)).collect();
    found.sort();
    found
}
