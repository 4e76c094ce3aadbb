//! A source of one's own: a folder of NumPy volumes (`.npy`) as scans, with public names alone.
//!
//! ```sh
//! cargo run --release --example own_source
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tomoflow::connectors::imagefile::ImageFile;
use tomoflow::connectors::table::{Rows, Table, read_rows};
use tomoflow::connectors::{Digest, Geometry, Reject, Scan, container};
use tomoflow::engine::{Options, run};
use tomoflow::operators::registry::{Entry, Registry, Stage};
use tomoflow::operators::source::{
    CaseFile, Claim, FileSource, FoundScan, Grid, Reader, ScanSource, SliceFile,
};
use tomoflow::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};
use tomoflow::pipeline::Draft;

/// What the source declares: the checker and the reference are made from it.
static SPEC: Spec = Spec {
    name: "numpy",
    section: Section::Sources,
    summary: "Reads the NumPy arrays of a folder, `CASE.npy`, each as a scan.",
    doc: "An array is `[D, H, W]` of little-endian 32-bit floats in C order. It has no spacing, so that `spacing_mm` gives it.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "path",
            kind: FieldKind::Path,
            default: Default::Required,
            role: Role::Operational,
            doc: "The folder that holds the arrays.",
        },
        // The grid is part of what a scan's key is made of, so a change of the spacing shows there.
        Field {
            name: "spacing_mm",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: 0.001, max: 100.0, unit: "mm" },
                len: Some(3),
            },
            default: Default::Required,
            role: Role::Operational,
            doc: "The distances between neighbouring slices, rows and columns, in mm.",
        },
    ],
};

struct Numpy {
    path: PathBuf,
    spacing_mm: [f64; 3],
}

/// The size of an array, and its values.
fn array(bytes: &[u8]) -> Result<([usize; 3], Vec<f32>), Reject> {
    let bad = |message: &str| {
        Reject::new("BAD_HEADER", message, "write it as `numpy.save(path, volume.astype(\"<f4\"))`")
    };
    let length = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => return Err(bad("an array of NumPy's format 1 expected, something else found")),
    };
    let end = 10 + usize::from(length);
    let header = bytes.get(10..end).and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or_else(|| bad("a header of text expected, the file ends before"))?;
    if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
        return Err(bad("32-bit floats in C order expected, others found"));
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let shape: Option<Vec<usize>> =
        shape.and_then(|(shape, _)| shape.split(',').map(|length| length.trim().parse().ok()).collect());
    let size = shape.and_then(|shape| <[usize; 3]>::try_from(shape).ok());
    let size = size.ok_or_else(|| bad("a shape of three lengths expected, another found"))?;
    let voxels = size.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    let values = &bytes[end..];
    if size.contains(&0) || voxels.and_then(|voxels| voxels.checked_mul(4)) != Some(values.len()) {
        return Err(bad("as many values as the shape says expected, more or fewer found"));
    }
    let (values, _) = values.as_chunks::<4>();
    Ok((size, values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

/// What the index keeps of a file. It knows nothing of `spacing_mm`: another pipeline may say another one.
fn header(path: &Path) -> io::Result<Result<ImageFile, Reject>> {
    let bytes = container::read(path)?;
    Ok(array(&bytes).map(|(size, _)| ImageFile {
        grid: Grid::from(&Geometry::axis_aligned(size, [1.0; 3])),
        digest: Digest::of(&bytes),
        notes: Vec::new(),
    }))
}

impl FileSource for Numpy {
    fn root(&self) -> &Path {
        &self.path
    }

    fn claim(&self, path: &Path) -> Option<Claim> {
        let name = path.strip_prefix(&self.path).ok()?.to_str()?.strip_suffix(".npy")?;
        Some(Claim::new(name, name))
    }

    fn reader(&self) -> Option<Reader> {
        Some(Reader { name: "numpy 1", read: header })
    }
}

impl ScanSource for Numpy {
    fn judge(&self, _case: &str, files: &[CaseFile<'_>]) -> Vec<Result<FoundScan, Reject>> {
        vec![FoundScan::of_one_file(files, "MR".into()).map(|mut found| {
            let size = Geometry::from(&found.grid).size;
            found.grid = Grid::from(&Geometry::axis_aligned(size, self.spacing_mm));
            found
        })]
    }

    fn load(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Scan, Reject> {
        let mismatch = |message: String| Reject::new("CHANGED", message, "it is read anew at the next run");
        let [file] = slices else { return Err(mismatch("one file expected".to_owned())) };
        let bytes = container::read(&file.path)
            .map_err(|error| Reject::new("UNREADABLE", error.to_string(), "may it be read?"))?;
        let (size, voxels) = array(&bytes)?;
        if size != grid.size {
            return Err(mismatch(format!("{:?} voxels expected, {size:?} found", grid.size)));
        }
        Scan::new(grid.clone(), voxels).map_err(|error| mismatch(error.to_string()))
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let path = config.get("path").and_then(|path| path.as_str()).unwrap_or_default().into();
    let spacing_mm = config.get("spacing_mm").cloned().unwrap_or_default();
    let spacing_mm = serde_json::from_value(spacing_mm)
        .map_err(|error| vec![FieldProblem::new("spacing_mm", error.to_string(), "`[3.0, 1.0, 1.0]`")])?;
    Ok(Stage::Scans(Arc::new(Numpy { path, spacing_mm })))
}

/// Writes an array as `numpy.save` does.
fn save(path: &Path, size: [usize; 3], values: &[f32]) -> io::Result<()> {
    let [depth, rows, columns] = size;
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({depth}, {rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16 + 1).to_le_bytes());
    bytes.extend(header.bytes().chain([b'\n']));
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(path, bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("tomoflow-own-source-{}", std::process::id()));
    let archive = folder.join("archive");
    fs::create_dir_all(&archive)?;
    let size = [4, 8, 8];
    for case in 0..2_usize {
        // A bright box of as many rows as the case's number says.
        let bright = |at: usize| if (at / 8) % 8 <= case { 100.0 } else { 0.0 };
        let values: Vec<f32> = (0..size.iter().product()).map(bright).collect();
        save(&archive.join(format!("case{case}.npy")), size, &values)?;
    }
    fs::write(archive.join("broken.npy"), b"\x93NUMPY\x01\x00")?;

    let mut registry = Registry::builtin();
    registry.register(Entry { spec: &SPEC, build });
    let draft = Draft::new("own-source", "out")
        .source("scans", "numpy", json!({ "path": "archive", "spacing_mm": [3.0, 1.0, 1.0] }))
        .operator("bright", "threshold", &["scans"], json!({ "above": 50.0, "label": "bright" }))
        .sink("results", "delta", &["bright"], json!({}));
    let first = run(draft.check(&folder, &registry)?, &Options::default(), &mut |_| {})?;
    print!("{first}");
    assert_eq!((first.accepted, first.rejects.get("BAD_HEADER")), (2, Some(&1)));
    let Rows::Masks(rows) = read_rows(&folder.join("out/tables/masks"), Table::Masks)? else {
        return Err("masks expected".into());
    };
    // 8 voxels of 1 mm² for each bright row, on each of 4 slices of both cases.
    let mut areas: Vec<f64> = rows.iter().map(|row| row.area_mm2).collect();
    areas.sort_by(f64::total_cmp);
    println!("areas on slices: {areas:?} mm²");
    assert_eq!(areas, [[8.0; 4], [16.0; 4]].concat());

    // Nothing has changed, so nothing is read or run again.
    let again = run(draft.check(&folder, &registry)?, &Options::default(), &mut |_| {})?;
    assert_eq!((again.files_read, again.actions_run), (0, 0));
    fs::remove_dir_all(&folder)?;
    Ok(())
}
