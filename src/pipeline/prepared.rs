//! How a model's scans were prepared, by its card: as stages before an inference that asks for them, or told where a
//! pipeline prepares scans otherwise.

use std::collections::BTreeMap;

use serde_json::json;
use tomoflow_connectors::reading;

use super::channels::names_of;
use super::declare::Declared;
use super::placement::upstream;
use super::plan::PlannedStage;
use super::problem::{Found, Span};
use super::suggest::listed;
use crate::networks::{ModelCard, Step};
use crate::operators::models::infer::{Infer, Prepare};
use crate::operators::models::origin::ModelFile;
use crate::operators::registry::{Registry, Stage};
use crate::operators::spec::{Config, Default, Spec, semantic};

/// What a card calls that which was done to each channel before they were put together.
const PREPARED: &str = "prepared";

/// A preparation that a card tells of.
pub(super) struct Prepared {
    /// The steps as the card tells of them.
    card: Vec<Step>,
    /// What of it runs before an inference, in this order.
    operators: Vec<Operator>,
}

/// One operator that a card names, built.
struct Operator {
    spec: &'static Spec,
    config: Config,
    stage: Stage,
}

/// What a check of the cards knows of the file.
pub(super) struct Cards<'a> {
    pub stages: &'a [Declared<'a>],
    pub inputs: &'a [Vec<Option<usize>>],
    pub built: &'a [Option<Stage>],
    pub registry: &'a Registry,
}

impl Cards<'_> {
    /// The operators to put before inferences, by the place of these in the file; reports cards that cannot be
    /// followed, and those that a pipeline does not follow.
    pub(super) fn read(&self, found: &mut Vec<Found>) -> BTreeMap<usize, Prepared> {
        let mut all = BTreeMap::new();
        for (index, built) in self.built.iter().enumerate() {
            let Some(Stage::Infer(infer)) = built else { continue };
            if let Some(problem) = self.unknown(index, infer) {
                found.push(problem);
                continue;
            }
            match infer.prepare {
                Prepare::Model => match self.follow(index, infer) {
                    Ok((prepared, warning)) => {
                        found.extend(warning);
                        all.insert(index, prepared);
                    }
                    Err(problem) => found.push(*problem),
                },
                Prepare::Pipeline => found.extend(self.otherwise(index, infer)),
            }
        }
        all
    }

    /// A model of a network that nobody has registered here.
    fn unknown(&self, index: usize, infer: &Infer) -> Option<Found> {
        // Files that cannot be read are told of below, or by the run.
        let cards = infer.model.files().iter().filter_map(|file| card(file).ok()?);
        let error = cards.filter_map(|card| self.registry.extensions().of(&card.network)?.err()).next()?;
        let found = Found::new(self.span(index, "model"), error.to_string()).label("so its card says");
        Some(found.hint("run it with the program that trained it: a crate registers its own networks"))
    }

    fn span(&self, index: usize, field: &str) -> Span {
        let stage = &self.stages[index];
        stage.table.key_at(field).map_or(stage.header, |key| key.span)
    }

    fn follow(&self, index: usize, infer: &Infer) -> Result<(Prepared, Option<Found>), Box<Found>> {
        if let Some(before) = self.transform_before(index) {
            let name = self.stages[before].name;
            let message =
                format!("the model's card says how scans are prepared, and `{name}` changes them before");
            let hint = "take scans as they were assembled, or leave `prepare` out";
            return Err(Box::new(Found::new(self.span(index, "prepare"), message).hint(hint)));
        }
        let span = self.span(index, "model");
        let refuse = |message: String, hint: &str| Box::new(Found::new(span, message).hint(hint));
        let mut steps: Option<Vec<Step>> = None;
        for file in infer.model.files() {
            let said = said(file).map_err(|message| refuse(message, "is it a model that `train` gave?"))?;
            let Some(said) = said else {
                let message =
                    format!("the card of {} does not say how scans were prepared", file.path().display());
                let hint = "a model of an earlier version: declare its operators before this stage, and leave `prepare` out";
                return Err(refuse(message, hint));
            };
            if steps.as_ref().is_some_and(|first| *first != said) {
                let message = "the models' scans were prepared in different ways".to_owned();
                return Err(refuse(
                    message,
                    "such models cannot be an ensemble: let each have its own `infer`",
                ));
            }
            steps = Some(said);
        }
        let card = steps.unwrap_or_default();
        let older = card.iter().find_map(|step| {
            let spec = self.registry.get(&step.operator)?.spec;
            (spec.version != step.version).then(|| {
                let message = format!(
                    "the model's scans were prepared by version {} of `{}`, here it is {}",
                    step.version, step.operator, spec.version
                );
                Found::new(span, message)
                    .hint("figures may differ a little: train again to be sure")
                    .warning()
            })
        });
        let steps = match card.split_first() {
            Some((first, rest)) if first.operator == "channels" => {
                if let Some(message) = self.other_channels(index, first) {
                    let hint = "let `channels` stand before this stage, with what its inputs need; or prepare all of it \
                                there, and leave `prepare` out";
                    return Err(refuse(message, hint));
                }
                rest
            }
            _ => card.as_slice(),
        };
        let built = steps.iter().cloned().map(|step| self.build(step)).collect::<Result<Vec<_>, _>>();
        let mut operators =
            built.map_err(|message| refuse(message, "another version of tomoflow wrote the card"))?;
        // Scans that are to be segmented have no labels.
        operators.retain(
            |step| !matches!(&step.stage, Stage::Transform(transform) if transform.around().is_some()),
        );
        Ok((Prepared { card, operators }, older))
    }

    /// Why cases are not of the channels that a card tells of, or were not put together as there.
    fn other_channels(&self, index: usize, step: &Step) -> Option<String> {
        let strings = |value: Option<&serde_json::Value>| -> Vec<String> {
            let listed = value.and_then(|value| value.as_array()).into_iter().flatten();
            listed.filter_map(|name| name.as_str()).map(str::to_owned).collect()
        };
        let wanted = strings(step.settings.get("names"));
        let before =
            upstream(self.inputs, index).find(|at| !matches!(self.built[*at], Some(Stage::Label { .. })))?;
        let own = match &self.built[before] {
            Some(Stage::Channels(_)) => names_of(self.stages, self.inputs, self.built, before)?,
            _ => Vec::new(),
        };
        if own != wanted {
            return Some(format!(
                "the model was trained on cases of the channels {}, this stage takes {}",
                listed(&wanted, "and"),
                if own.is_empty() { "scans of one".to_owned() } else { listed(&own, "and") }
            ));
        }
        let each = step.settings.get(PREPARED).and_then(|prepared| prepared.as_array()).into_iter().flatten();
        let prepared = each.filter(|steps| steps.as_array().is_some_and(|steps| !steps.is_empty())).count();
        (prepared > 0).then(|| {
            format!("the model's card says that {prepared} of its channels were prepared before they were put together")
        })
    }

    /// A step as a stage; fields that came after the card have their defaults.
    fn build(&self, step: Step) -> Result<Operator, String> {
        let Step { operator, mut settings, .. } = step;
        let unknown = || format!("the model's card names an operator `{operator}`, which is not known here");
        let entry = self.registry.get(&operator).ok_or_else(unknown)?;
        let mut config = Config::new();
        for field in entry.spec.fields {
            let default = match field.default {
                Default::Required => None,
                Default::Absent => Some(serde_json::Value::Null),
                Default::Json(text) => serde_json::from_str(text).ok(),
            };
            let missing = || format!("the model's card lacks `{}` of `{operator}`", field.name);
            let value = settings.remove(field.name).or(default).ok_or_else(missing)?;
            config.insert(field.name.to_owned(), value);
        }
        if let Some(field) = settings.keys().next() {
            return Err(format!(
                "the model's card gives `{operator}` a field `{field}`, which it has not here"
            ));
        }
        match (entry.build)(&config) {
            Ok(stage @ Stage::Transform(_)) => Ok(Operator { spec: entry.spec, config, stage }),
            Ok(_) => Err(format!("the model's card names `{operator}`, which prepares no scans")),
            Err(problems) => {
                let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
                Err(format!("`{operator}` in the model's card: {}", messages.join("; ")))
            }
        }
    }

    /// What a pipeline does to scans unlike the training of a model that it reads from a file.
    fn otherwise(&self, index: usize, infer: &Infer) -> Option<Found> {
        let own = self.own(index)?;
        // Files that cannot be read are told of by the run.
        let cards = infer.model.files().iter().filter_map(|file| said(file).ok()?);
        let difference = cards.filter_map(|steps| difference(&steps, &own)).next()?;
        let message = format!("the model was trained on scans that were prepared otherwise: {difference}");
        let hint = "prepare them alike; or take scans as they were assembled, and say `prepare = \"model\"`";
        Some(Found::new(self.span(index, "model"), message).label("so its card says").hint(hint).warning())
    }

    /// How the scans of a stage are prepared; none where a rule over the archive decides, or the file is broken.
    fn own(&self, index: usize) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        for before in upstream(self.inputs, index) {
            match &self.built[before] {
                Some(Stage::Transform(transform)) if transform.rule().is_some() => return None,
                Some(Stage::Transform(_)) => steps.push(self.step(before)?),
                Some(Stage::Adopt) => {}
                Some(Stage::Channels(_)) => {
                    steps.push(self.joined(before)?);
                    break;
                }
                // Labels may be bound to what has been put together.
                Some(Stage::Label { .. }) if self.joins_before(before) => {}
                _ => break,
            }
        }
        steps.reverse();
        Some(steps)
    }

    fn step(&self, stage: usize) -> Option<Step> {
        let (spec, config) = (self.stages[stage].spec()?, self.stages[stage].config.as_ref()?);
        let settings = semantic(spec.fields, config);
        Some(Step { operator: spec.name.to_owned(), version: spec.version, settings })
    }

    fn joins_before(&self, stage: usize) -> bool {
        let before = self.inputs[stage].first().copied().flatten();
        before.is_some_and(|before| matches!(self.built[before], Some(Stage::Channels(_))))
    }

    /// How channels are put together, with what is done to each before, as a card says it.
    fn joined(&self, join: usize) -> Option<Step> {
        let mut step = self.step(join)?;
        let names = names_of(self.stages, self.inputs, self.built, join)?;
        let each = self.inputs[join].iter().map(|input| self.alone(join, (*input)?));
        let each: Vec<Vec<Step>> = each.collect::<Option<_>>()?;
        step.settings.insert("names".to_owned(), json!(names));
        step.settings.insert(PREPARED.to_owned(), json!(each));
        Some(step)
    }

    /// What is done to one input of `channels`, this stage included.
    fn alone(&self, join: usize, input: usize) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        for at in std::iter::once(input).chain(upstream(self.inputs, input)) {
            match &self.built[at] {
                Some(Stage::Transform(transform)) if transform.rule().is_none() && at != join => {
                    steps.push(self.step(at)?);
                }
                Some(Stage::Transform(_) | Stage::Channels(_)) | None => return None,
                Some(_) => break,
            }
        }
        steps.reverse();
        Some(steps)
    }

    fn transform_before(&self, index: usize) -> Option<usize> {
        let before = (*self.inputs[index].first()?)?;
        matches!(self.built[before], Some(Stage::Transform(_))).then_some(before)
    }
}

/// How a file's card says that scans were prepared; none for TorchScript, and where the card does not say it.
fn said(file: &ModelFile) -> Result<Option<Vec<Step>>, String> {
    Ok(card(file)?.and_then(|card| card.origin.preparation))
}

/// A file's card; none for TorchScript.
pub(super) fn card(file: &ModelFile) -> Result<Option<ModelCard>, String> {
    let ModelFile::Safetensors { path } = file else { return Ok(None) };
    let (bytes, _) =
        reading::open(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    ModelCard::read(bytes).map(Some).map_err(|error| {
        let text = error.to_string();
        format!("{}: {}", path.display(), text.lines().next().unwrap_or_default())
    })
}

/// How a preparation differs from a model's. What is cut off, or added around, changes no voxel that a network sees.
fn difference(model: &[Step], own: &[Step]) -> Option<String> {
    let seen = |steps: &[Step]| -> Vec<Step> {
        let framed = |step: &&Step| !matches!(step.operator.as_str(), "crop" | "pad");
        steps.iter().filter(framed).cloned().collect()
    };
    let (model, own) = (seen(model), seen(own));
    let names = |steps: &[Step]| -> String {
        let names: Vec<_> = steps.iter().map(|step| format!("`{}`", step.operator)).collect();
        if names.is_empty() { "nothing".to_owned() } else { listed(&names, "and") }
    };
    if !model.iter().map(|step| &step.operator).eq(own.iter().map(|step| &step.operator)) {
        return Some(format!("by {}, here by {}", names(&model), names(&own)));
    }
    model.iter().zip(&own).find_map(|(model, own)| {
        let mut fields = model.settings.keys().chain(own.settings.keys());
        let differs = |field: &&String| match (*field == PREPARED).then(|| (each(model), each(own))) {
            Some((model, own)) => channel_difference(&model, &own).is_some(),
            None => model.settings.get(*field) != own.settings.get(*field),
        };
        let field = fields.find(differs)?;
        if field == PREPARED {
            return channel_difference(&each(model), &each(own));
        }
        let value =
            |step: &Step| step.settings.get(field).map_or("its default".to_owned(), ToString::to_string);
        Some(format!("`{field}` of `{}` was {}, here it is {}", model.operator, value(model), value(own)))
    })
}

/// What is done to each input of `channels` before, as a card says it.
fn each(step: &Step) -> Vec<Vec<Step>> {
    let each = step.settings.get(PREPARED).cloned().unwrap_or_default();
    serde_json::from_value(each).unwrap_or_default()
}

/// How the preparation of an input of `channels` differs.
fn channel_difference(model: &[Vec<Step>], own: &[Vec<Step>]) -> Option<String> {
    if model.len() != own.len() {
        return Some(format!("of {} inputs of `channels`, here of {}", model.len(), own.len()));
    }
    let differences = (1..).zip(model.iter().zip(own));
    differences.into_iter().find_map(|(place, (model, own))| {
        difference(model, own).map(|difference| format!("input {place} of `channels` {difference}"))
    })
}

/// Puts prepared operators before the stages at these places.
pub(super) fn splice(
    stages: Vec<PlannedStage>,
    mut prepared: BTreeMap<usize, Prepared>,
) -> Vec<PlannedStage> {
    let mut places = Vec::with_capacity(stages.len());
    let mut all: Vec<PlannedStage> = Vec::with_capacity(stages.len());
    for (old, mut stage) in stages.into_iter().enumerate() {
        let moved = |place: &mut usize| *place = places.get(*place).copied().unwrap_or(*place);
        stage.inputs.iter_mut().chain(stage.references.values_mut().flatten()).for_each(moved);
        let operators = match (prepared.remove(&old), &mut stage.stage) {
            (Some(Prepared { card, operators }), Stage::Infer(infer)) => {
                infer.follows = Some(card);
                operators
            }
            _ => Vec::new(),
        };
        for (number, Operator { spec, config, stage: built }) in (1..).zip(operators) {
            let Some(input) = stage.inputs.first_mut() else { break };
            let before = std::mem::replace(input, all.len());
            all.push(PlannedStage {
                // No name in a file has a dot.
                name: format!("{}.{number}.{}", stage.name, spec.name),
                spec,
                config,
                inputs: vec![before],
                references: BTreeMap::new(),
                output: all[before].output,
                keep: false,
                timeout: None,
                retries: None,
                stage: built,
            });
        }
        places.push(all.len());
        all.push(stage);
    }
    all
}
