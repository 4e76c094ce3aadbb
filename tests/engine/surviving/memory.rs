//! Memory is counted by what transforms say of their grids, before a voxel is read.

use std::sync::Arc;

use tomoflow::connectors::{Geometry, LabelMap, Scan, Volume};
use tomoflow::engine::{self, Options};
use tomoflow::operators::registry::{Entry, Registry, Stage, Transform};
use tomoflow::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};
use tomoflow::operators::value::{Case, Failure};

use super::{rejects, run_in};
use crate::support::Workplace;

/// An operator that tomoflow does not know: twice as many voxels along every axis.
static SPEC: Spec = Spec {
    name: "twice",
    section: Section::Operators,
    summary: "Twice as many voxels along every axis.",
    doc: "Each voxel becomes eight.",
    version: 1,
    inputs: &[Port { name: "scans", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[],
};

struct Twice;

impl Twice {
    fn volume<T: Copy>(&self, old: &Volume<T>) -> Volume<T> {
        let geometry = self.grid(old.geometry());
        let ([_, rows, columns], size) = (old.size(), geometry.size);
        let mut voxels = Vec::with_capacity(size.iter().product());
        for d in 0..size[0] {
            for h in 0..size[1] {
                let line = (d / 2 * rows + h / 2) * columns;
                voxels.extend((0..size[2]).map(|w| old.voxels()[line + w / 2]));
            }
        }
        Volume::new(geometry, voxels).unwrap()
    }
}

impl Transform for Twice {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let scan: Scan = self.volume(&case.scan);
        let labels = case.labels.as_ref().map(|labels| -> Arc<LabelMap> { Arc::new(self.volume(labels)) });
        Ok(Case { scan: Arc::new(scan), labels, ..case.clone() })
    }

    fn grid(&self, grid: &Geometry) -> Geometry {
        Geometry {
            size: grid.size.map(|n| 2 * n),
            steps_mm: grid.steps_mm.map(|step| step.map(|mm| mm / 2.0)),
            ..grid.clone()
        }
    }
}

fn build(_: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Transform(Arc::new(Twice)))
}

fn registry() -> Registry {
    let mut registry = Registry::builtin();
    registry.register(Entry { spec: &SPEC, build });
    registry
}

/// A threshold on scans as the operator leaves them; `fields` are more lines of its table.
fn place(fields: &str) -> Workplace {
    let mut place = Workplace::new(1);
    place.text = format!(
        "[pipeline]\nname = \"twice\"\nout = \"out\"\nallowed_rejects = 1.0\n\n[sources.scans]\ntype = \"dicom\"\npath = \"archive\"\nwhere = {{ Modality = \"MR\" }}\n\n\
         [operators.volume]\ntype = \"assemble\"\ninputs = [\"scans\"]\n\n\
         [operators.large]\ntype = \"twice\"\ninputs = [\"volume\"]\n{fields}\n\
         [operators.bright]\ntype = \"threshold\"\ninputs = [\"large\"]\nabove = 500\n\n\
         [sinks.found]\ntype = \"delta\"\ninputs = [\"bright\"]\n"
    );
    place
}

/// The stages that are refused with so much memory, each with what it says.
fn refused(place: &Workplace, memory_bytes: u64) -> Vec<(String, String)> {
    let mut plan = place.plan(&registry());
    plan.settings.memory_bytes = memory_bytes;
    engine::run(plan, &Options { threads: 1, ..Options::default() }, &mut |_| {}).unwrap();
    rejects(place)
        .into_iter()
        .map(|row| {
            assert_eq!(row.code, "OVER_BUDGET", "{row:?}");
            (row.stage, row.message)
        })
        .collect()
}

#[test]
fn an_operator_of_another_crate_is_counted_by_what_it_says_of_its_grid() {
    let place = place("");
    let [d, h, w] = place.phantom.size;
    let voxels = (d * h * w) as u64;
    // The scan as it was stored, and eight times as many voxels afterwards.
    let needed = 14 * voxels + 14 * 8 * voxels;
    let short = refused(&place, needed - 1);
    let message = format!("{needed} bytes needed, `memory` allows {}", needed - 1);
    assert_eq!(short, [("bright".to_owned(), message)]);
    assert_eq!(refused(&place, needed), []);
}

#[test]
fn a_transform_that_is_kept_is_counted_itself() {
    let place = place("keep = true");
    let voxels: usize = place.phantom.size.iter().product();
    let needed = 14 * 9 * voxels as u64;
    let mut stages: Vec<String> = refused(&place, needed - 1).into_iter().map(|(stage, _)| stage).collect();
    stages.sort();
    assert_eq!(stages, ["bright", "large"]);
    assert_eq!(run_in(&place, &registry(), 1).rejected, 0);
}
