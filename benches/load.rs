//! `cargo bench --bench load`: a series of 512x512x118 signed 16-bit samples to a volume of f32, beside
//! SimpleITK's series reader and dcm2niix, where these are installed.
//!
//! `TOMOFLOW_PYTHON` is a Python with SimpleITK and dcm2niix. The comparisons go to `target/bench-load.json`.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/series.rs"]
mod series;

use std::path::{Path, PathBuf};
use std::time::Instant;

use peers::Peer;
use tomoflow::connectors::Geometry;
use tomoflow::connectors::dicom::{load_scan, walk};

const SIZE: [usize; 3] = [118, 512, 512];

/// The order is known, as it is to us; the fastest of three in one process.
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
    std::fs::create_dir(&scratch).expect("a folder");
    series::write_series(1, SIZE, &root);
    let slices: Vec<(PathBuf, u32)> =
        walk(&root).expect("a folder").into_iter().map(|file| (file.path, 0)).collect();
    let geometry = Geometry::axis_aligned(SIZE, [1.5, 0.4, 0.4]);
    let ours = || {
        let began = Instant::now();
        let scan = load_scan(&geometry, &slices).expect("a scan");
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(scan.slice(1)[1], 138.0 - 1024.0);
        seconds
    };
    let text = |path: &Path| path.to_str().expect("a path in plain letters").to_owned();
    let (root, scratch) = (text(&root), text(&scratch));
    let peers = vec![
        Peer {
            name: "SimpleITK".into(),
            run: Box::new(|| peers::python(SIMPLEITK, &[&root])),
            at_least: Some(5.0),
        },
        Peer {
            name: "dcm2niix".into(),
            run: Box::new(|| peers::python(DCM2NIIX, &[&root, &scratch])),
            at_least: Some(3.0),
        },
    ];
    let lines = peers::compare("512x512x118 of 16 bits to f32, all threads", ours, peers);
    peers::keep(&lines, "bench-load.json").expect("a file");
}
