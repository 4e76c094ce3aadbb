//! Keys: what a result depends on, and nothing else.

use serde_json::{Value as Json, json};
use tomoflow_connectors::Digest;

use super::work::{BoundCase, LabelRow, Member, Other, OutlinesRow, SeriesRow};
use crate::operators::cases::channels::JoinChannels;
use crate::operators::cases::rule::{Measured, Rule};
use crate::operators::cases::tally::Counted;
use crate::operators::models::train::{Split, Train};
use crate::operators::registry::Stage;
use crate::operators::spec::{Aspects, Config, Kind, semantic};
use crate::pipeline::{Plan, PlannedStage, StageId};

/// Raised when keys are made in another way: everything runs anew.
const SCHEMA: &[u8] = b"tomoflow key 2";

/// Results of one numerics class are interchangeable: 32-bit floating point, on any device.
const NUMERICS: &[u8] = b"f32";

/// A stage's type, code version and the configuration that results depend on; not its name.
pub fn operator(stage: &PlannedStage) -> Digest {
    let mut config = semantic(stage.spec.fields, &stage.config);
    // A model enters by its content, not by the name of the stage or file that gives it.
    for field in stage.references.keys() {
        config.remove(field);
    }
    without_paths(&mut config);
    let config = serde_json::Value::Object(config).to_string();
    Digest::of_parts([
        SCHEMA,
        stage.spec.name.as_bytes(),
        &stage.spec.version.to_le_bytes(),
        config.as_bytes(),
    ])
}

/// A stage's type and code version alone: what it does with its settings shows in the content that it gives.
fn code(stage: &PlannedStage) -> Digest {
    Digest::of_parts([SCHEMA, stage.spec.name.as_bytes(), &stage.spec.version.to_le_bytes()])
}

/// Files enter by their content, so `torchscript` and `safetensors` paths leave the configuration.
fn without_paths(config: &mut Config) {
    if let Some(serde_json::Value::Object(model)) = config.get_mut("model") {
        model.remove("torchscript");
        model.remove("safetensors");
    }
}

/// A fused chain: from the stage that makes a case, through transforms, to the stage `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The stage that makes the case (`assemble`, `images`, `label`).
    pub root: usize,
    assemble: Digest,
    scan: Digest,
    labels: Digest,
    /// Whether labels decide what becomes of intensities.
    by_labels: bool,
    /// Whether voxels that only pad a scan are left out of anything.
    by_padding: bool,
    /// What the chain begins with where channels were put together.
    channels: Option<Box<Joined>>,
}

/// How channels were put together, and what was done to each before.
#[derive(Clone, Debug, PartialEq)]
struct Joined {
    operator: Digest,
    inputs: Vec<Chain>,
}

impl Joined {
    fn of(plan: &Plan, join: usize, channels: &JoinChannels) -> Self {
        let planned = &plan.stages[join];
        let others = planned.inputs.len().saturating_sub(1);
        let fills: Vec<f32> = (0..others).map(|place| channels.fill.of(place)).collect();
        let said = json!([plan.channels(join), fills]).to_string();
        let operator = Digest::of_parts([code(planned).0.as_slice(), said.as_bytes()]);
        Self { operator, inputs: planned.inputs.iter().map(|&input| Chain::to(plan, input)).collect() }
    }

    /// Returns the digest of what the channels' intensities depend on: those of each input, or that it is
    /// missing.
    fn scan(&self, case: &BoundCase) -> Digest {
        let others = case.beside.iter().flat_map(|beside| &beside.others);
        let cases = std::iter::once(Some(case.first())).chain(others.map(Other::case));
        let mut parts = vec![b"channels".to_vec(), self.operator.0.to_vec()];
        for (chain, case) in self.inputs.iter().zip(cases) {
            parts.push(match case {
                // Padding is left out where a scan comes onto another grid.
                Some(case) => {
                    let values = case.series.padding().collect::<Vec<_>>().join("\0");
                    let padded = [u8::from(case.series.is_padded())];
                    [&chain.scan(&case).0[..], &padded, values.as_bytes()].concat()
                }
                None => b"missing".to_vec(),
            });
        }
        Digest::of_parts(parts.iter().map(Vec::as_slice))
    }
}

impl Chain {
    /// The chain that ends at a stage which gives scans or cases.
    pub fn to(plan: &Plan, stage: usize) -> Self {
        let (transforms, root) = plan.transforms(stage);
        let part = |wanted: Aspects| {
            let operators: Vec<Digest> = transforms
                .iter()
                .filter(|&&index| {
                    let aspects = plan.stages[index].spec.aspects;
                    aspects == Aspects::Both || aspects == wanted
                })
                .map(|&index| operator(&plan.stages[index]))
                .collect();
            Digest::of_parts(operators.iter().map(|digest| digest.0.as_slice()))
        };
        let assemble = code(&plan.stages[plan.scans(root)]);
        let by_labels = transforms.iter().any(|&index| match &plan.stages[index].stage {
            Stage::Transform(transform) => transform.around().is_some(),
            _ => false,
        });
        let by_padding = transforms.iter().any(|&index| match &plan.stages[index].stage {
            Stage::Transform(transform) => transform.minds_padding(),
            _ => false,
        });
        let (scan, mut labels) = (part(Aspects::Scan), part(Aspects::Labels));
        let channels = plan.joining(root).and_then(|join| match &plan.stages[join].stage {
            Stage::Channels(channels) => Some(Box::new(Joined::of(plan, join, channels))),
            _ => None,
        });
        // Labels go with the first input, through what is done to it.
        let first = channels.as_ref().and_then(|channels| channels.inputs.first());
        if let Some(first) = first {
            labels = Digest::of_parts([first.labels.0.as_slice(), &labels.0]);
        }
        let by_labels = by_labels || first.is_some_and(|first| first.by_labels);
        Self { root, assemble, scan, labels, by_labels, by_padding, channels }
    }

    /// Returns the digest of what the chain's intensities depend on.
    pub fn scan(&self, case: &BoundCase) -> Digest {
        let labels = self.labels(case).filter(|_| self.by_labels);
        let base = self.channels.as_ref().map_or(case.series.digest, |channels| channels.scan(case));
        let parts = [&base, &self.assemble, &self.scan].into_iter().chain(labels.as_ref());
        let padding = if self.by_padding { case.padding() } else { None };
        Digest::of_parts(parts.map(|part| part.0.as_slice()).chain(padding.as_deref()))
    }

    /// The case as far as the chain's intensities depend on it: its labels seldom take part, so that a corrected
    /// outline asks for no other mask.
    pub fn seen(&self, case: BoundCase) -> BoundCase {
        BoundCase { labels: case.labels.filter(|_| self.by_labels), ..case }
    }

    /// Returns the digest of what the chain's labels depend on, when the case has any.
    pub fn labels(&self, case: &BoundCase) -> Option<Digest> {
        let labels = case.labels.as_ref()?;
        Some(Digest::of_parts([labels.digest.0.as_slice(), &self.labels.0]))
    }
}

/// Whether two inferences do the same work on a case: one action then does it for both.
pub fn same_inference(plan: &Plan, one: usize, other: usize) -> bool {
    let [a, b] = [one, other].map(|index| &plan.stages[index]);
    let model = |stage: &PlannedStage| stage.config.get("model").cloned();
    // The models of stages are known by the stages, those of files by their paths.
    let alike = match (a.references.is_empty(), b.references.is_empty()) {
        (true, true) => model(a) == model(b),
        _ => a.references == b.references,
    };
    let part = |stage: &PlannedStage| {
        let chain = Chain::to(plan, stage.inputs[0]);
        (chain.root, chain.assemble, chain.scan, chain.channels)
    };
    alike && operator(a) == operator(b) && part(a) == part(b)
}

/// What tells a scan's part of its labels from another scan's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawnBy {
    /// Whether images that are not the scan's are another scan's.
    pub apart: bool,
    /// The digest of the scan's images, where that matters.
    pub images: Digest,
}

/// The content of the labels of one scan.
pub fn labels(
    plan: &Plan,
    label: usize,
    source: usize,
    outlines: &OutlinesRow,
    series: &SeriesRow,
    drawn: DrawnBy,
    absent: Vec<u16>,
) -> LabelRow {
    let mut grid = serde_json::to_vec(&series.grid).unwrap_or_default();
    // Labels between slices depend on where these lie, which the scan's content tells.
    if series.has_planes_between() {
        grid.extend(series.digest.0);
    }
    // Structures drawn elsewhere are left out, by the scan's frame of reference and its images.
    let DrawnBy { apart, images } = drawn;
    if apart || outlines.outlines.leaves(&series.frame_of_reference) {
        grid.extend(series.frame_of_reference.as_bytes());
        grid.extend(images.0);
        grid.push(u8::from(apart));
        // Where there are several frames, the key holds which structures lie in the scan's own.
        let own = outlines.outlines.frames_beside(&series.frame_of_reference);
        grid.extend(own.map(u8::from));
    }
    if let Stage::Labels(source) = &plan.stages[source].stage
        && !source.nested().is_empty()
    {
        grid.extend(b"nested");
    }
    if let Stage::Labels(source) = &plan.stages[source].stage
        && source.by_place()
    {
        grid.extend(b"by place");
    }
    grid.extend(absent.iter().flat_map(|label| label.to_le_bytes()));
    let (label, reader) = (&plan.stages[label].spec, operator(&plan.stages[source]));
    let digest = Digest::of_parts([
        outlines.outlines.digest.0.as_slice(),
        &reader.0,
        label.name.as_bytes(),
        &label.version.to_le_bytes(),
        &grid,
    ]);
    LabelRow { source: StageId::at(source), record: outlines.record, digest, apart, absent: absent.into() }
}

/// The key of a case that is kept as it stands after a chain: for training with its labels, or without.
pub fn prepare(scan: Digest, labels: Option<Digest>) -> Digest {
    let labels = labels.as_ref().map_or(&[][..], |labels| &labels.0);
    Digest::of_parts([SCHEMA, b"prepare", &scan.0, labels])
}

/// The key of a case that a training learns from though nobody may have looked for some labels.
pub fn prepare_in_part(scan: Digest, labels: Digest) -> Digest {
    Digest::of_parts([SCHEMA, b"prepare in part 1", &scan.0, &labels.0])
}

/// The key of the volume of labels.
pub fn volume(labels: Digest) -> Digest {
    Digest::of_parts([SCHEMA, b"volume 1", &labels.0])
}

/// The key of what is measured of a case after a chain, in voxels that `counted` names: `labels` where these decide.
///
/// Voxels that only pad a scan are not counted: `padding` as [`BoundCase::padding`] has it.
pub fn measure(counted: Counted, scan: Digest, labels: Option<Digest>, padding: Option<&[u8]>) -> Digest {
    let counted = json!(counted).to_string();
    let labels = labels.as_ref().map_or(&[][..], |labels| &labels.0);
    let parts = [SCHEMA, b"measure 1", counted.as_bytes(), &scan.0, labels];
    Digest::of_parts(parts.into_iter().chain(padding))
}

/// Returns the digest of what a training depends on beside its dataset: its configuration, that of its
/// samples, and the chain that prepares them.
pub fn recipe(plan: &Plan, train: usize) -> Digest {
    let (view, augmentations) = plan.samples(train);
    let prepared = plan.prepared(train);
    let chain = Chain::to(plan, prepared);
    let mut parts = vec![operator(&plan.stages[train])];
    // A training without a view is made of the cases themselves.
    if view != prepared {
        parts.push(operator(&plan.stages[view]));
    }
    parts.extend([chain.scan, chain.labels]);
    parts.extend(augmentations.iter().map(|&stage| operator(&plan.stages[stage])));
    // The model that it begins with is known later; that it begins with one is part of the recipe.
    if plan.start(train).is_some() {
        parts.push(Digest::of(b"start"));
    }
    // Masks that are learned from are of the recipe by what makes them: each round is a training of its own.
    parts.extend(plan.adopting(view).map(|adopt| made_by(plan, adopt)));
    // The recipe includes what makes the cases: another label, or T1 instead of T2, asks for another model.
    let mut origins = vec![chain.root];
    while let Some(stage) = origins.pop() {
        let planned = &plan.stages[stage];
        parts.push(operator(planned));
        let filter = planned.config.get("where").map(ToString::to_string).unwrap_or_default();
        parts.push(Digest::of(filter.as_bytes()));
        if let Stage::Channels(_) = planned.stage {
            parts.push(Digest::of(json!(plan.channels(stage)).to_string().as_bytes()));
        }
        origins.extend(planned.inputs.iter().rev());
    }
    Digest::of_parts([SCHEMA, NUMERICS].into_iter().chain(parts.iter().map(|part| part.0.as_slice())))
}

/// Returns the digest of what makes masks, or puts them in the place of labels, with the recipes of the
/// models that take part.
fn made_by(plan: &Plan, stage: usize) -> Digest {
    let planned = &plan.stages[stage];
    let mut parts = vec![operator(planned)];
    for &input in &planned.inputs {
        parts.push(match plan.stages[input].output {
            Some(Kind::Masks) => made_by(plan, input),
            _ => {
                let chain = Chain::to(plan, input);
                Digest::of_parts([&chain.scan.0, &chain.labels.0].map(|part| part.as_slice()))
            }
        });
    }
    parts.extend(planned.named().map(|model| recipe(plan, model)));
    Digest::of_parts(parts.iter().map(|part| part.0.as_slice()))
}

/// Returns the key that a model is kept under: its recipe, and what the file of its split says, if there is
/// one.
///
/// The split's file is no part of the recipe: a training depends on where its own cases stand, which its
/// dataset says.
pub fn pin(plan: &Plan, train: usize) -> Digest {
    let recipe = recipe(plan, train);
    match &plan.stages[train].stage {
        Stage::Train(Train { split: Split { named: Some(named), .. }, .. }) => {
            Digest::of_parts([SCHEMA, b"pin", &recipe.0, &named.digest().0])
        }
        _ => recipe,
    }
}

/// The name under which what a rule was settled on is kept: the rule, what is done to scans before it that matters
/// to it (`before`: turns, for a rule over intensities all transforms), and which scans it looks at. `cases` is the
/// stage that makes these.
///
/// No code version takes part, and nothing of how the result is interpolated: a pin outlives both.
pub fn rule(plan: &Plan, rule: &Rule, before: &[usize], cases: usize) -> Digest {
    let settings = |stage: &PlannedStage| Json::Object(semantic(stage.spec.fields, &stage.config));
    let said = |stage: &PlannedStage| json!([stage.spec.name, settings(stage)]);
    let mut parts: Vec<Json> = before.iter().map(|&stage| said(&plan.stages[stage])).collect();
    let root = plan.scans(cases);
    // What `assemble` does about gaps shows in which scans there are, as a scan more or less does.
    let source = match plan.stages[root].stage {
        Stage::Assemble(_) => plan.stages[root].inputs[0],
        _ => root,
    };
    let source = &plan.stages[source];
    parts.extend([said(source), source.config.get("where").cloned().unwrap_or_default(), rule.said()]);
    // Labels decide what counts.
    if let Rule::Intensities(Measured { counted: Counted::Labelled, .. }) = rule
        && let Some(&labels) = plan.stages[cases].inputs.get(1)
    {
        parts.extend([said(&plan.stages[cases]), said(&plan.stages[labels])]);
    }
    Digest::of_parts([b"tomoflow rule 1".as_slice(), Json::Array(parts).to_string().as_bytes()])
}

/// The key of a training, and the content of the model that it begins with where it does with one.
pub fn train(recipe: Digest, members: &[Member], start: Option<Digest>) -> Digest {
    let mut parts = vec![SCHEMA.to_vec(), recipe.0.to_vec()];
    for member in members {
        let Some(prepared) = member.prepared else { continue };
        parts.push(member.part.name().as_bytes().to_vec());
        parts.push(prepared.0.to_vec());
    }
    if let Some(start) = start {
        parts.extend([b"start".to_vec(), start.0.to_vec()]);
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}

/// The key of an action with one operator and its inputs.
///
/// `operator` is the stage's [`operator`] digest: it is made once for a stage, not for every row.
pub fn action(operator: Digest, inputs: &[Digest]) -> Digest {
    let mut parts = vec![SCHEMA, NUMERICS, operator.0.as_slice()];
    parts.extend(inputs.iter().map(|input| input.0.as_slice()));
    Digest::of_parts(parts)
}
