//! An operator of the tests' own: it does to each case what a test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tomoflow::operators::registry::{Entry, Registry, Stage, Transform};
use tomoflow::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use tomoflow::operators::value::{Case, Failure};
use tomoflow::phantom::vs::{self, VsPhantom};

use super::text::Rewrite as _;
use super::{THRESHOLD, Workplace};

type Do = Arc<dyn Fn(&Case) -> Result<(), Failure> + Send + Sync>;

/// The actions of probes, by name: stages are built from text alone.
static HOOKS: Mutex<BTreeMap<String, Do>> = Mutex::new(BTreeMap::new());

const fn spec(version: u32) -> Spec {
    Spec {
        name: "probe",
        section: Section::Operators,
        summary: "Does what a test tells it to.",
        doc: "Leaves the case as it is.",
        version,
        inputs: &[Port { name: "scans", accepts: &[Kind::Scan, Kind::Case], many: false }],
        output: Output::SameAsInput,
        aspects: Aspects::Scan,
        fields: &[Field {
            name: "hook",
            kind: FieldKind::Text,
            default: Default::Required,
            role: Role::Operational,
            doc: "What it does.",
        }],
    }
}

static SPECS: [Spec; 2] = [spec(1), spec(2)];

struct Probe {
    hook: String,
}

impl Transform for Probe {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let hook = HOOKS.lock().unwrap_or_else(PoisonError::into_inner).get(&self.hook).cloned();
        hook.map_or(Ok(()), |hook| hook(case))?;
        Ok(case.clone())
    }
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let hook = config["hook"].as_str().unwrap_or_default().to_owned();
    Ok(Stage::Transform(Arc::new(Probe { hook })))
}

/// The built-in stages and a probe of version 1 or 2.
pub fn registry(version: usize) -> Registry {
    let mut registry = Registry::builtin();
    registry.register(Entry { spec: &SPECS[version - 1], build });
    registry
}

/// The action of a probe, which is set as long as this lives.
pub struct Hook(&'static str);

impl Hook {
    /// Sets what the probe with this name does from now on.
    pub fn set(
        name: &'static str,
        act: impl Fn(&Case) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        HOOKS.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(act));
        Self(name)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        HOOKS.lock().unwrap_or_else(PoisonError::into_inner).remove(self.0);
    }
}

/// Makes a workplace of series with a probe right after they are labelled; `fields` are more lines of its
/// table.
pub fn place(series: usize, hook: &str, fields: &str) -> Workplace {
    let mut place = Workplace::new(series);
    let normal = "[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]";
    assert!(THRESHOLD.contains(normal));
    let probe =
        format!("[operators.probe]\ntype = \"probe\"\ninputs = [\"case\"]\nhook = \"{hook}\"\n{fields}\n");
    let after = normal.rewrite("\"case\"", "\"probe\"");
    place.text = THRESHOLD.rewrite(normal, &format!("{probe}\n{after}"));
    place
}

/// The index of the series that a case is of, among the first ones.
pub fn whose(phantom: &VsPhantom, case: &Case) -> usize {
    let differing = |index: &usize| {
        let (scan, _) = vs::case(phantom, *index);
        scan.voxels().iter().zip(case.scan.voxels()).filter(|(a, b)| a != b).count()
    };
    (0..phantom.series).min_by_key(differing).unwrap()
}
