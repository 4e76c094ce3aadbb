//! Rules over the archive: settled once, the same as what is said outright, and followed anew on demand alone; and
//! boxes around labels.

mod boxes;
mod grids;
mod spacings;
mod statistics;

use tomoflow::connectors::{Geometry, Scan, nifti};
use tomoflow::engine::{Options, Summary};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

use crate::support::Workplace;

/// Spacings that files hold as they are.
const SPACINGS: [[f64; 3]; 5] =
    [[1.5, 0.5, 0.5], [2.0, 0.75, 0.75], [3.0, 1.0, 1.0], [6.0, 1.25, 1.0], [6.0, 1.25, 1.5]];

/// A scan along the patient's axes, with content of its own.
fn add(place: &Workplace, name: &str, [d, h, w]: [f64; 3]) {
    let steps_mm = [[0.0, 0.0, d], [0.0, h, 0.0], [w, 0.0, 0.0]];
    let geometry = Geometry { size: [4, 10, 12], origin_mm: [0.0; 3], steps_mm };
    let shift = name.bytes().map(usize::from).sum::<usize>();
    let voxels = (0..480).map(|at| ((at * 7 + shift * 13) % 31) as f32 / 31.0).collect();
    let file = place.archive().join(format!("{name}.nii"));
    nifti::write_scan(&file, &Scan::new(geometry, voxels).unwrap()).unwrap();
}

fn repinned(place: &Workplace) -> Summary {
    place.run_with(&Options { repin: true, threads: 2, ..Options::default() })
}

fn rejects(place: &Workplace) -> Vec<(String, String)> {
    let row = |line: &String| -> (String, String) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        (text("stage"), text("code"))
    };
    place.tables()["rejects"].iter().map(row).collect()
}

fn problems(place: &Workplace) -> String {
    pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap_err().to_string()
}
