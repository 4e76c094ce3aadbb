//! `[sweep]`: one pipeline for each combination of values, on shared preparation.
//!
//! Each key names a field of a stage, each value lists what it takes. A stage on which some of the values bear, since it
//! has the field or comes after one that has, is written once for each combination of these; all others stand as they
//! are, and so does what has been computed of them. What comes out is an ordinary pipeline, which
//! `tomoflow check --resolved` prints.

use std::collections::{BTreeMap, BTreeSet};

use super::declare;
use super::extends::Files;
use super::overrides;
use super::plan::Swept;
use super::problem::{Found, Span};
use super::suggest::remedy;
use super::tree::{Key, Node, Origin, Table, Value};
use crate::operators::registry::Registry;
use crate::operators::spec::Section;

/// How one file runs many trials.
pub(super) const SWEEP: &str = "`[sweep]` runs through values: `\"operators.net.loss.lambda\" = [0.0, 0.2, 0.4]` and \
    `\"operators.net.seed\" = [1, 2, 3]` below it make nine trainings. Stages that have such a field, and those that come \
    after them, are there once for each combination, by names like `net_lambda_0_2_seed_1`; what comes before is done once. \
    A sink takes all of them, and `tomoflow compare` holds the combinations against each other, seeds together.";

/// Combinations of values, more than anybody reads.
const MAX_COMBINATIONS: usize = 1000;

/// One key of `[sweep]`.
struct Axis {
    /// The stage that has the field.
    stage: String,
    /// Section, stage and field, part by part, each where it stands.
    path: Vec<Key>,
    values: Vec<Node>,
    /// What the field is called in names of stages.
    label: String,
    /// What each value is called there.
    words: Vec<String>,
}

/// The number of the value that each of some axes takes, by the axis's number.
type Combination = BTreeMap<usize, usize>;

/// Takes `[sweep]` out of the tree and writes stages once for each combination; what stands for what then.
pub(super) fn apply(
    root: &mut Table,
    files: &Files,
    registry: &Registry,
    found: &mut Vec<Found>,
) -> Vec<Swept> {
    let Some(place) = root.entries.iter().position(|(key, _)| key.name == "sweep") else {
        return Vec::new();
    };
    let (_, node) = root.entries.remove(place);
    let before = found.len();
    let axes = axes(&node, root, found);
    let combinations = axes.iter().try_fold(1usize, |all, axis| all.checked_mul(axis.values.len()));
    if combinations.is_none_or(|count| count > MAX_COMBINATIONS) {
        let problem = Found::new(node.span, format!("at most {MAX_COMBINATIONS} combinations expected"));
        found.push(problem.label("more found").hint("list fewer values, or sweep one field after the other"));
    }
    if found.len() > before || axes.is_empty() {
        return Vec::new();
    }
    let wires = Wires::of(root, files, registry);
    let expansion = Expansion { bearing: wires.bearing(&axes), axes, wires };
    expansion.expand(root);
    expansion.swept(root)
}

/// The keys of `[sweep]`, with what is wrong with them.
fn axes(node: &Node, root: &Table, found: &mut Vec<Found>) -> Vec<Axis> {
    let mut axes = Vec::new();
    match &node.value {
        Value::Table(table) => collect(table, &[], root, &mut axes, found),
        Value::Broken => {}
        other => {
            let problem = Found::new(node.span, "`sweep` is a table").label(other.found());
            found.push(problem.hint("for example `\"operators.net.seed\" = [1, 2, 3]` below `[sweep]`"));
        }
    }
    // Two fields of one name are told apart by what holds them.
    for index in 0..axes.len() {
        let last = |axis: &Axis| axis.path.last().map(|key| key.name.clone()).unwrap_or_default();
        let alike = axes.iter().filter(|other| last(other) == last(&axes[index])).count() > 1;
        let parts =
            if alike { &axes[index].path[1..] } else { &axes[index].path[axes[index].path.len() - 1..] };
        let label: Vec<String> = parts.iter().map(|key| word(&key.name)).collect();
        axes[index].label = label.join("_");
    }
    axes
}

fn collect(table: &Table, above: &[Key], root: &Table, axes: &mut Vec<Axis>, found: &mut Vec<Found>) {
    for (key, node) in &table.entries {
        let parts = key.name.split('.').map(|name| Key { name: name.to_owned(), span: key.span });
        let path: Vec<Key> = above.iter().cloned().chain(parts).collect();
        match &node.value {
            Value::Table(inner) if inner.origin != Origin::Inline => {
                collect(inner, &path, root, axes, found);
            }
            Value::Broken => {}
            Value::List(values) if !values.is_empty() => {
                if let Some(problem) = unfit(&path, key.span, root) {
                    found.push(problem);
                    continue;
                }
                let words = words(values);
                let (stage, label) = (path[1].name.clone(), String::new());
                axes.push(Axis { stage, path, values: values.clone(), label, words });
            }
            other => {
                let problem = Found::new(node.span, format!("`{}` takes a list of values", key.name));
                found.push(problem.label(other.found()).hint("each value is a run of what depends on it"));
            }
        }
    }
}

/// Why a path is none of a stage's field.
fn unfit(path: &[Key], span: Span, root: &Table) -> Option<Found> {
    let written = path.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(".");
    let [section, stage, _, ..] = path else {
        let problem = Found::new(span, format!("`{written}` is no field of a stage"));
        return Some(problem.hint("write section, stage and field: `\"operators.net.seed\" = [1, 2, 3]`"));
    };
    let sections = [Section::Sources, Section::Operators].map(Section::name);
    if !sections.contains(&section.name.as_str()) {
        let problem = Found::new(span, format!("`{}` cannot be swept", section.name));
        return Some(problem.label(written).hint("fields of sources and of operators can"));
    }
    let stages = root.get(&section.name).and_then(|(_, node)| match &node.value {
        Value::Table(stages) => Some(stages),
        _ => None,
    });
    if stages.is_some_and(|stages| stages.get(&stage.name).is_some()) {
        return None;
    }
    let names: Vec<&str> =
        stages.iter().flat_map(|stages| &stages.entries).map(|(key, _)| &*key.name).collect();
    let message = format!("there is no stage `{}` under `{}`", stage.name, section.name);
    Some(Found::new(span, message).label("unknown stage").hint(remedy(&stage.name, names, "")))
}

/// What values are called in names of stages: letters, digits, `_` and `-`.
fn words(values: &[Node]) -> Vec<String> {
    let plain = |node: &Node| match &node.value {
        Value::Text(text) => word(text),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => word(&format!("{value}")),
        Value::Bool(value) => value.to_string(),
        Value::Table(table) => match table.get("type") {
            Some((_, Node { value: Value::Text(kind), .. })) => word(kind),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let mut words: Vec<String> = values.iter().map(plain).collect();
    let distinct: BTreeSet<&String> = words.iter().filter(|word| !word.is_empty()).collect();
    if distinct.len() < words.len() {
        words = (1..=values.len()).map(|number| number.to_string()).collect();
    }
    words
}

fn word(text: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    text.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect()
}

/// Which stage names which, and where.
struct Wires {
    /// The stages that each stage names.
    from: BTreeMap<String, BTreeSet<String>>,
    /// The places at which a field names a stage, each with the stage.
    references: BTreeMap<Span, String>,
}

impl Wires {
    fn of(root: &Table, files: &Files, registry: &Registry) -> Self {
        // What is wrong with stages is found once they are expanded.
        let declaration = declare::read(root, files, registry, &mut Vec::new());
        let mut wires = Self { from: BTreeMap::new(), references: BTreeMap::new() };
        for stage in &declaration.stages {
            let from = wires.from.entry(stage.name.to_owned()).or_default();
            from.extend(stage.inputs.iter().flatten().map(|input| input.name.clone()));
            for reference in &stage.references {
                from.insert(reference.stage.clone());
                wires.references.insert(reference.span, reference.stage.clone());
            }
        }
        wires
    }

    /// The axes whose values bear on each stage.
    fn bearing(&self, axes: &[Axis]) -> BTreeMap<String, BTreeSet<usize>> {
        let mut bearing: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (number, axis) in axes.iter().enumerate() {
            bearing.entry(axis.stage.clone()).or_default().insert(number);
        }
        // Each round goes one stage further; a circle of stages is found when they are wired.
        for _ in 0..self.from.len() {
            for (stage, from) in &self.from {
                let more: BTreeSet<usize> =
                    from.iter().filter_map(|from| bearing.get(from)).flatten().copied().collect();
                if !more.is_empty() {
                    bearing.entry(stage.clone()).or_default().extend(more);
                }
            }
        }
        bearing
    }
}

struct Expansion {
    axes: Vec<Axis>,
    wires: Wires,
    bearing: BTreeMap<String, BTreeSet<usize>>,
}

impl Expansion {
    /// The combinations of the axes that bear on a stage; one without any of a stage on which none does.
    fn combinations(&self, stage: &str) -> Vec<Combination> {
        let mut all = vec![Combination::new()];
        for &axis in self.bearing.get(stage).into_iter().flatten() {
            let values = 0..self.axes[axis].values.len();
            let with = |combination: &Combination, value| {
                let mut combination = combination.clone();
                combination.insert(axis, value);
                combination
            };
            all = all.iter().flat_map(|one| values.clone().map(move |value| with(one, value))).collect();
        }
        all
    }

    /// What a stage is called where these values hold.
    fn name(&self, stage: &str, values: &Combination) -> String {
        let mut name = stage.to_owned();
        for axis in self.bearing.get(stage).into_iter().flatten() {
            if let Some(value) = values.get(axis) {
                let Axis { label, words, .. } = &self.axes[*axis];
                name += &format!("_{label}_{}", words[*value]);
            }
        }
        name
    }

    /// Writes stages once for each combination, and sinks with all of them.
    fn expand(&self, root: &mut Table) {
        for (key, node) in &mut root.entries {
            let Value::Table(stages) = &mut node.value else { continue };
            if key.name == Section::Sinks.name() {
                stages.entries.iter_mut().for_each(|(_, sink)| self.gather(sink));
            } else if Section::ALL.iter().any(|section| section.name() == key.name) {
                let entries = std::mem::take(&mut stages.entries).into_iter();
                stages.entries = entries.flat_map(|(key, node)| self.copies(&key, &node)).collect();
            }
        }
    }

    fn copies(&self, key: &Key, node: &Node) -> Vec<(Key, Node)> {
        let copies = self.combinations(&key.name).into_iter().map(|values| {
            let mut copy = node.clone();
            for (&axis, &value) in &values {
                let Axis { stage, path, values, .. } = &self.axes[axis];
                if let (true, Value::Table(table)) = (*stage == key.name, &mut copy.value) {
                    overrides::put(table, &path[2..], values[value].clone());
                }
            }
            self.rename(&mut copy, &values);
            (Key { name: self.name(&key.name, &values), span: key.span }, copy)
        });
        copies.collect()
    }

    /// Names the stages that a copy takes from as they are called where its values hold.
    fn rename(&self, node: &mut Node, values: &Combination) {
        match &mut node.value {
            Value::Table(table) => {
                for (key, node) in &mut table.entries {
                    match &mut node.value {
                        Value::List(items) if key.name == "inputs" => {
                            for item in items {
                                if let Value::Text(name) = &mut item.value {
                                    *name = self.name(name, values);
                                }
                            }
                        }
                        _ => self.rename(node, values),
                    }
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.rename(item, values)),
            Value::Text(name) if self.wires.references.get(&node.span) == Some(name) => {
                *name = self.name(name, values);
            }
            _ => {}
        }
    }

    /// A sink takes all copies of each of its inputs.
    fn gather(&self, sink: &mut Node) {
        let Value::Table(table) = &mut sink.value else { return };
        let Some((_, Node { value: Value::List(inputs), .. })) = table.get_mut("inputs") else { return };
        let all = std::mem::take(inputs).into_iter().flat_map(|input| match &input.value {
            Value::Text(name) => {
                let combinations = self.combinations(name).into_iter();
                let names = combinations.map(|values| Value::Text(self.name(name, &values)));
                names.map(|value| Node { value, span: input.span }).collect()
            }
            _ => vec![input],
        });
        *inputs = all.collect();
    }

    /// The combinations by name, with the stages that stand for each; those that differ in a seed alone are one.
    fn swept(&self, root: &Table) -> Vec<Swept> {
        let seed = |axis: &Axis| axis.path.last().is_some_and(|key| key.name == "seed");
        let mut systems: Vec<Swept> = Vec::new();
        let operators = root.get(Section::Operators.name()).map(|(_, node)| &node.value);
        let Some(Value::Table(operators)) = operators else { return systems };
        for stage in self.bearing.keys() {
            for values in self.combinations(stage) {
                let name = self.name(stage, &values);
                let evaluates = operators.get(&name).is_some_and(|(_, node)| match &node.value {
                    Value::Table(table) => {
                        matches!(table.get("type"), Some((_, Node { value: Value::Text(kind), .. })) if kind == "evaluate")
                    }
                    _ => false,
                });
                if !evaluates {
                    continue;
                }
                let said: Vec<String> = values
                    .iter()
                    .filter(|(axis, _)| !seed(&self.axes[**axis]))
                    .map(|(axis, value)| {
                        let Axis { label, words, .. } = &self.axes[*axis];
                        format!("{label} {}", said(&self.axes[*axis].values[*value], &words[*value]))
                    })
                    .collect();
                let system = if said.is_empty() { stage.clone() } else { said.join(", ") };
                match systems.iter_mut().find(|known| known.of == *stage && known.system == system) {
                    Some(known) => known.stages.push(name),
                    None => systems.push(Swept { system, of: stage.clone(), stages: vec![name] }),
                }
            }
        }
        systems
    }
}

/// A value as people write it.
fn said(node: &Node, word: &str) -> String {
    match &node.value {
        Value::Float(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        _ => word.to_owned(),
    }
}
