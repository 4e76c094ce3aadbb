//! TOML to a checked plan: every problem at once, each with its place and a remedy.
//!
//! The file is parsed in two phases. The first (`syntax`, with recovery) makes a tree that knows the
//! place of every key and value; the second checks each table by its `type`, from what the registry
//! declares (`declare`, `fields`), and wires the stages (`wiring`). Only a file without errors
//! becomes a [`Plan`]. The schema, the reference and the graph come from the same declarations.

mod begins;
mod boxes;
mod bytes;
mod channels;
mod common;
mod crossing;
mod declare;
mod describe;
mod draft;
mod durations;
mod elsewhere;
mod expand;
mod extends;
mod fields;
mod graph;
mod judged;
mod manual;
mod order;
mod overrides;
mod placement;
mod places;
pub mod plan;
mod predictions;
mod prepared;
pub mod problem;
mod recover;
mod reference;
mod regions;
mod schema;
mod settings;
mod shape;
mod suggest;
mod sweep;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod wiring;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use draft::Draft;
pub use manual::{manual, manual_of_operators, manual_of_pipeline, wrapped};
pub use places::resolved;
pub use plan::{Identifiers, Plan, PlannedStage, Settings, StageId, Swept};
pub use problem::{Place, Problem, Problems, Severity};
pub use reference::{page, reference};
pub use schema::schema;
pub use settings::{COMMON, FIELDS as SETTINGS};
pub use suggest::remedy;

use crate::networks::objectives::supervised::Supervised;
use crate::networks::{Extensions, InputView, LossConfig, NetworkError, Origin, Task};
use crate::operators::registry::{Registry, Stage};
use crate::operators::spec::{FieldProblem, Output};
use declare::{Declaration, Declared};
use extends::Files;
use prepared::{Cards, Prepared};
use problem::{Found, Sources, Span};
use tree::Table;
use wiring::Wiring;

/// The bytes that a size such as `256 MiB` stands for.
///
/// # Errors
/// What is wrong with it.
pub fn bytes_of(text: &str) -> Result<u64, String> {
    bytes::parse(text)
}

/// Reads and checks a pipeline file. `overrides` are `--set` options, `KEY=TOML-VALUE`; paths in the
/// file are relative to its folder. What they lead to is looked at: what is not there is a warning.
///
/// # Errors
/// Every problem of the file and the options, in their order; or that the file could not be read.
pub fn load(path: &Path, overrides: &[String], registry: &Registry) -> Result<Plan, Problems> {
    read_file(path, overrides, registry).map(|read| read.plan)
}

/// A pipeline file with all that it extends and all options as one text, which means the same wherever it lies.
///
/// # Errors
/// As of [`load`].
pub fn written_out(path: &Path, overrides: &[String], registry: &Registry) -> Result<String, Problems> {
    read_file(path, overrides, registry).map(|read| written::text(&read.root, &read.files))
}

/// A pipeline as it was read.
struct Checked {
    plan: Plan,
    root: Table,
    files: Files,
}

fn read_file(path: &Path, overrides: &[String], registry: &Registry) -> Result<Checked, Problems> {
    let name = path.display().to_string();
    let bytes = extends::bytes_of(path).map_err(|error| Problems::unreadable(&name, &error))?;
    let absolute = std::path::absolute(path).map_err(|error| Problems::unreadable(&name, &error))?;
    let base = absolute.parent().unwrap_or(&absolute);
    match String::from_utf8(bytes) {
        Ok(text) => read(&name, &text, base, overrides, registry, true),
        Err(error) => {
            let start = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let found = Found::new(Span::new(0, start, start + 1), "a pipeline file is UTF-8 text")
                .label("another encoding found")
                .hint("save the file as UTF-8");
            Err(Problems(vec![Sources::new(&name, &text, "").problem(found)]))
        }
    }
}

/// Checks a pipeline's text. `name` is what problems call the file, `base` the folder that its paths
/// are relative to.
///
/// # Errors
/// Every problem of the text and the options, in their order.
///
/// # Examples
/// ```
/// use tomoflow::operators::registry::Registry;
/// let text = "[pipeline]\nname = \"a\"\nout = \"o\"\n\n[sources.scans]\ntype = \"dicm\"\npath = \"p\"\n";
/// let base = std::path::Path::new("/data");
/// let problems = tomoflow::pipeline::parse("a.toml", text, base, &[], &Registry::builtin()).unwrap_err();
/// assert_eq!(problems.to_string(), "\
/// error: there is no source of type `dicm`
///  --> a.toml:6:8
///   |
/// 6 | type = \"dicm\"
///   |        ^^^^^^ unknown type
/// hint: did you mean `dicom`?
/// ");
/// ```
pub fn parse(
    name: &str,
    text: &str,
    base: &Path,
    overrides: &[String],
    registry: &Registry,
) -> Result<Plan, Problems> {
    read(name, text, base, overrides, registry, false).map(|read| read.plan)
}

/// The same; `look` says whether what lies on disk is looked at.
fn read(
    name: &str,
    text: &str,
    base: &Path,
    overrides: &[String],
    registry: &Registry,
    look: bool,
) -> Result<Checked, Problems> {
    let options = overrides::text(overrides);
    let (mut sources, mut files) = (Sources::new(name, text, &options), Files::new(base));
    let (root, mut syntax) = syntax::read(text, 0, 0);
    let mut root = extends::apply(root, name, &mut sources, &mut files, &mut syntax);
    syntax.extend(overrides::apply(&mut root, &options, 1));
    let swept = sweep::apply(&mut root, &files, registry, &mut syntax);
    let mut found = Vec::new();
    if base.to_str().is_none() {
        let problem = Found::new(Span::new(0, 0, 0), "the folder of a pipeline file has a name in UTF-8");
        found.push(problem.label("paths are relative to that folder").hint("rename or move the folder"));
    }
    let declaration = declare::read(&root, &files, registry, &mut found);
    let wiring = wiring::wire(&declaration.stages, !root.damaged, registry, &mut found);
    let stages: Vec<_> = declaration.stages.iter().map(|stage| build(stage, registry, &mut found)).collect();
    labels_first(&declaration, &wiring, &mut found);
    patients_named(&declaration, &stages, &mut found);
    attention_there(&declaration, &wiring, &stages, &mut found);
    boxes::found_where_asked(&declaration, &wiring, &stages, &mut found);
    begins::alike(&declaration, &wiring, &stages, registry, look, &mut found);
    channels::check(&declaration.stages, &wiring.inputs, &stages, &mut found);
    predictions::probabilities_kept(&declaration.stages, &wiring.inputs, &stages, &mut found);
    predictions::no_truth(&declaration.stages, &wiring.inputs, &stages, &mut found);
    judged::have_labels_in_common(&declaration.stages, &wiring.inputs, &stages, &mut found);
    placement::own_spacings(&declaration.stages, &wiring.inputs, &stages, &mut found);
    placement::known_labels(&declaration.stages, &wiring.inputs, &stages, &mut found);
    if look {
        let out = declaration.settings.as_ref().and_then(|settings| settings.get("out")?.as_str());
        places::check(&root, &declaration.stages, &stages, out.map(Path::new), &mut found);
    }
    let cards = Cards { stages: &declaration.stages, inputs: &wiring.inputs, built: &stages, registry };
    let prepared = cards.read(&mut found);
    found.extend(regions::differ(&cards));
    found.extend(crossing::refused(&cards));
    let (errors, warnings) = settle(&sources, syntax, found);
    if !errors.is_empty() {
        return Err(Problems(errors));
    }
    let file = base.join(Path::new(name).file_name().unwrap_or_default());
    let extensions = registry.extensions().clone();
    let plan = plan(declaration, wiring, stages, prepared, warnings, file);
    plan.map(|plan| Checked { plan: Plan { extensions, swept, ..plan }, root, files }).ok_or_else(|| {
        let problem = Found::new(Span::new(0, 0, 0), "the pipeline was not understood");
        Problems(vec![sources.problem(problem.hint("a fault of tomoflow, not of this file"))])
    })
}

/// Makes a stage whose own fields are sound; what does not go together is reported at its field.
fn build(stage: &Declared, registry: &Registry, found: &mut Vec<Found>) -> Option<Stage> {
    let entry = stage.entry?;
    let built = (entry.build)(stage.config.as_ref()?);
    match built.and_then(|built| brought(built, registry)) {
        Ok(built) => Some(built),
        Err(problems) => {
            // Of several problems at one key, the first is the cause.
            let mut told = Vec::new();
            for FieldProblem { field, message, hint } in problems {
                let key = stage.table.key_at(&field).map(|key| key.span);
                let label =
                    if key.is_none() && !field.is_empty() { format!("`{field}`") } else { String::new() };
                if key.is_none() || !told.contains(&key) {
                    found.push(Found::new(key.unwrap_or(stage.header), message).label(label).hint(hint));
                    told.push(key);
                }
            }
            None
        }
    }
}

/// A training's network and loss, where a downstream crate brings them, refuse settings in their own words.
fn brought(built: Stage, registry: &Registry) -> Result<Stage, Vec<FieldProblem>> {
    let Stage::Train(train) = &built else { return Ok(built) };
    let Some(settings) = train.network() else { return Ok(built) };
    let extensions = registry.extensions();
    let mut problems = Vec::new();
    let mut refuse = |field: &str, error: NetworkError| {
        problems.push(FieldProblem::new(field, error.to_string(), "see its fields"));
    };
    // The data are not known yet: the network is tried with the least channels and classes that there can be.
    if let Ok(network) = settings.network.resolve(1, 2)
        && let Some(Err(error)) = extensions.of(&network)
    {
        refuse("network", error);
    }
    if let LossConfig::Own(loss) = &settings.loss
        && let Err(error) = extensions.loss(loss)
    {
        refuse("loss", error);
    }
    if problems.is_empty() && matches!(settings.loss, LossConfig::Own(_)) {
        let (view, label_names) = (InputView::Patch { size: [1; 3] }, vec![String::new()]);
        let task = Task { view, label_names, origin: Origin::default() };
        if let Err(error) = Supervised::new(settings, &task, extensions) {
            problems.push(FieldProblem::new("loss", error.to_string(), "see `network`"));
        }
    }
    if problems.is_empty() { Ok(built) } else { Err(problems) }
}

/// Labels are drawn on a scan's own grid, so nothing may have changed it before.
fn labels_first(declaration: &Declaration, wiring: &Wiring, found: &mut Vec<Found>) {
    for (stage, inputs) in declaration.stages.iter().zip(&wiring.inputs) {
        let label = stage.spec().is_some_and(|spec| spec.name == "label");
        let Some(Some(from)) = inputs.first().filter(|_| label) else { continue };
        let from = &declaration.stages[*from];
        let joins = from.spec().is_some_and(|spec| spec.name == "channels");
        if joins || from.spec().is_none_or(|spec| !matches!(spec.output, Output::SameAsInput)) {
            continue;
        }
        let message = format!("`label` takes scans as they were assembled, `{}` changes them", from.name);
        let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
        found.push(Found::new(span, message).hint("label first, and let that stage take the labelled cases"));
    }
}

/// A DICOM object carries its patient, so that a pipeline which hides patients cannot write any.
fn patients_named(declaration: &Declaration, built: &[Option<Stage>], found: &mut Vec<Found>) {
    let identifiers = declaration.settings.as_ref().and_then(|settings| settings.get("identifiers"));
    if identifiers.and_then(|word| word.as_str()) == Some("clear") {
        return;
    }
    for (stage, built) in declaration.stages.iter().zip(built) {
        if let Some(Stage::Files(files)) = built
            && files.format.is_dicom()
        {
            let message = "a DICOM file names the patient, and this pipeline's identifiers are pseudonymous";
            let span = stage.table.key_at("format").map_or(stage.header, |key| key.span);
            let hint = "take another format, or set `identifiers = \"clear\"` in `[pipeline]`";
            found.push(Found::new(span, message).hint(hint));
        }
    }
}

/// Attention is kept of networks that have a map.
fn attention_there(
    declaration: &Declaration,
    wiring: &Wiring,
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    for (index, stage) in declaration.stages.iter().enumerate() {
        let Some(Stage::Infer(infer)) = &built[index] else { continue };
        if !infer.options.keep.attention {
            continue;
        }
        let without = wiring.references[index].iter().flatten().find(|&&model| match &built[model] {
            Some(Stage::Train(train)) => train.network().is_some_and(|settings| !settings.network.attends()),
            _ => false,
        });
        let Some(&model) = without else { continue };
        let message =
            format!("the network of `{}` has no attention map to keep", declaration.stages[model].name);
        let span = stage.table.key_at("keep").map_or(stage.header, |key| key.span);
        let hint = "leave `attention` out, or give the network `attention = \"supervised\"`";
        found.push(Found::new(span, message).hint(hint));
    }
}

/// Errors and warnings as they are shown, by place. A line with a syntax error shows only that, since
/// what it holds was guessed.
fn settle(sources: &Sources, syntax: Vec<Found>, mut found: Vec<Found>) -> (Vec<Problem>, Vec<Problem>) {
    let line = |found: &Found| (found.span.source, sources.line(found.span));
    let broken: BTreeSet<_> = syntax.iter().map(line).collect();
    found.retain(|found| !broken.contains(&line(found)));
    found.extend(syntax);
    found.sort_by_key(|found| found.span);
    let mut problems: Vec<_> = found.into_iter().map(|found| sources.problem(found)).collect();
    problems.dedup();
    problems.into_iter().partition(|problem| problem.severity == Severity::Error)
}

/// The plan of a file without errors.
fn plan(
    declaration: Declaration,
    wiring: Wiring,
    mut built: Vec<Option<Stage>>,
    prepared: BTreeMap<usize, Prepared>,
    warnings: Vec<Problem>,
    file: PathBuf,
) -> Option<Plan> {
    let settings = settings::read(&declaration.settings?, file);
    let mut place = vec![0; declaration.stages.len()];
    for (new, &old) in wiring.order.iter().enumerate() {
        place[old] = new;
    }
    let stages = wiring.order.iter().map(|&index| {
        let stage = &declaration.stages[index];
        let mut references = BTreeMap::<_, Vec<usize>>::new();
        for (named, from) in stage.references.iter().zip(&wiring.references[index]) {
            references.entry(named.field.clone()).or_default().push(place[(*from)?]);
        }
        Some(PlannedStage {
            name: stage.name.to_owned(),
            spec: stage.spec()?,
            config: stage.config.clone()?,
            inputs: wiring.inputs[index].iter().map(|from| Some(place[(*from)?])).collect::<Option<_>>()?,
            references,
            output: wiring.outputs[index],
            keep: stage.common.keep,
            timeout: stage.common.timeout,
            retries: stage.common.retries,
            stage: built[index].take()?,
        })
    });
    let stages = stages.collect::<Option<Vec<_>>>()?;
    if stages.len() != place.len() {
        return None;
    }
    let prepared = prepared.into_iter().map(|(index, steps)| (place[index], steps)).collect();
    let (stages, extensions) = (prepared::splice(stages, prepared), Extensions::default());
    Some(Plan { settings, stages, warnings, extensions, swept: Vec::new() })
}
