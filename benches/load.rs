//! `cargo bench --bench load`: a folder of 512x512x118 signed 16-bit samples to a volume of f32, beside
//! SimpleITK's series reader and dcm2niix, where these are installed.
//!
//! Everyone finds the files and their order alone, and may use every core. Second, the decoding alone, with the
//! files in their order. Third, to a volume of i16, from samples of 13 bits, whose values all fit.
//!
//! `TOMOFLOW_PYTHON` is a Python with SimpleITK and dcm2niix. The comparisons go to `target/bench.json`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

#[path = "support/peers.rs"]
mod peers;
#[path = "support/series.rs"]
mod series;

use std::path::{Path, PathBuf};
use std::time::Instant;

use peers::Peer;
use tomoflow::connectors::dicom::{HeaderReader, Instance, Record, assemble, load_scan, load_short, walk};
use tomoflow::connectors::{Geometry, Intensity, Volume};

const SIZE: [usize; 3] = [118, 512, 512];

/// The fastest of three in one process.
const SIMPLEITK_FOLDER: &str = r#"
import sys, time
import SimpleITK as sitk
def load():
    start = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    sitk.GetArrayViewFromImage(image)
    return time.perf_counter() - start
print(min(load() for _ in range(3)))
"#;

/// The order is known.
const SIMPLEITK: &str = r#"
import os, sys, time
import SimpleITK as sitk
files = sorted(entry.path for entry in os.scandir(sys.argv[1]))
def load():
    start = time.perf_counter()
    image = sitk.ReadImage(files, sitk.sitkFloat32, imageIO="GDCMImageIO")
    sitk.GetArrayViewFromImage(image)
    return time.perf_counter() - start
print(min(load() for _ in range(3)))
"#;

/// It finds the order by itself and writes a file of 16 bits, which is then read to f32.
const DCM2NIIX: &str = r#"
import os, subprocess, sys, tempfile, time
import dcm2niix, numpy
def load():
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as out:
        start = time.perf_counter()
        command = [dcm2niix.bin, "-b", "n", "-z", "n", "-f", "v", "-o", out, sys.argv[1]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        written = next(entry.path for entry in os.scandir(out) if entry.name.endswith(".nii"))
        numpy.fromfile(written, numpy.int16, offset=352).astype(numpy.float32)
        return time.perf_counter() - start
print(min(load() for _ in range(3)))
"#;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, scratch) = (folder.path().join("series"), folder.path().join("scratch"));
    let narrow = folder.path().join("narrow");
    std::fs::create_dir(&scratch).expect("a folder");
    series::write_series(1, SIZE, &root);
    let text = |path: &Path| path.to_str().expect("a path in plain letters").to_owned();
    let (folder, scratch) = (text(&root), text(&scratch));
    let simple_itk = |script: &'static str| {
        let folder = &folder;
        Peer {
            name: "SimpleITK".into(),
            run: Box::new(move || peers::python(script, &[folder])),
            at_least: Some(5.0),
        }
    };
    let dcm2niix = Peer {
        name: "dcm2niix".into(),
        run: Box::new(|| peers::python(DCM2NIIX, &[&folder, &scratch])),
        at_least: Some(3.0),
    };
    let peers = vec![simple_itk(SIMPLEITK_FOLDER), dcm2niix];
    let mut lines = peers::compare("a folder of 512x512x118 of 16 bits to f32", || load(&root), peers);
    let (geometry, slices) = assembled(&root);
    let ours = || timed(|| load_scan(&geometry, &slices).expect("a scan"));
    let peers = vec![simple_itk(SIMPLEITK)];
    lines.extend(peers::compare("the same, files and order known", ours, peers));
    series::write_series_of(1, SIZE, 13, &narrow);
    let (geometry, slices) = assembled(&narrow);
    let ours = || timed(|| load_scan(&geometry, &slices).expect("a scan"));
    lines.extend(peers::compare("13 of 16 bits to f32, files and order known", ours, Vec::new()));
    let ours = || timed(|| load_short(&geometry, &slices).expect("a scan"));
    lines.extend(peers::compare("the same to i16", ours, Vec::new()));
    peers::keep(&lines).expect("a file");
}

/// Seconds from a folder to a volume.
fn load(root: &Path) -> f64 {
    timed(|| {
        let (geometry, slices) = assembled(root);
        load_scan(&geometry, &slices).expect("a scan")
    })
}

/// Where the volume of a folder lies, and its files in order.
fn assembled(root: &Path) -> (Geometry, Vec<(PathBuf, u32)>) {
    let files = walk(root).expect("a folder");
    let mut reader = HeaderReader::default();
    let instances: Vec<Instance> = files
        .iter()
        .map(|file| match reader.read(&file.path).expect("a file") {
            Record::Instance(instance) => instance,
            other => panic!("an instance expected, {other:?} found"),
        })
        .collect();
    let part = assemble(&instances.iter().collect::<Vec<_>>()).swap_remove(0);
    let assembled = part.verdict.expect("a volume");
    let slices = assembled.slices.iter().map(|slice| (files[slice.instance].path.clone(), slice.frame));
    (assembled.geometry.clone(), slices.collect())
}

fn timed<T: Intensity>(work: impl FnOnce() -> Volume<T>) -> f64 {
    let began = Instant::now();
    let scan = work();
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(scan.slice(1)[1].float(), 138.0 - 1024.0);
    seconds
}
