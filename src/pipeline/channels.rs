//! What goes together of channels: their names, what looks at one channel alone, and models of others.

use super::declare::Declared;
use super::placement::upstream;
use super::problem::Found;
use super::suggest::remedy;
use crate::operators::cases::channels::{Fill, JoinChannels, check_names};
use crate::operators::registry::{Looks, Stage};
use crate::operators::value::listed;

/// Reports what of channels does not go together.
pub(super) fn check(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    let all = All { stages, inputs, built };
    for (index, stage) in built.iter().enumerate() {
        match stage {
            Some(Stage::Channels(join)) => all.joined(index, join, found),
            Some(Stage::Transform(transform)) if transform.measures().is_some() => {
                all.measured(index, found);
            }
            Some(Stage::Train(train)) if train.gives_boxes() && all.several(index) => {
                all.detected(index, found);
            }
            Some(Stage::Infer(infer)) if infer.boxes.is_some() && all.several(index) => {
                all.detected(index, found);
            }
            Some(Stage::Segment(segmenter)) => {
                if let Looks::AtOne(channel) = segmenter.looks() {
                    all.looked_at(index, channel, found);
                }
            }
            Some(Stage::Infer(infer)) if infer.model.files().is_empty() => all.inferred(index, found),
            _ => {}
        }
    }
}

/// The names of the channels that `channels` puts together; `None` where that is not known.
pub(super) fn names_of(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    join: usize,
) -> Option<Vec<String>> {
    All { stages, inputs, built }.names(join)
}

struct All<'a> {
    stages: &'a [Declared<'a>],
    inputs: &'a [Vec<Option<usize>>],
    built: &'a [Option<Stage>],
}

impl All<'_> {
    /// The names of a stage's channels, with none of a stage of one; `None` where that is not known.
    fn names(&self, index: usize) -> Option<Vec<String>> {
        for at in std::iter::once(index).chain(upstream(self.inputs, index)) {
            match self.built[at].as_ref()? {
                Stage::Scans(source) => return Some(source.channel_names()),
                Stage::Assemble(_) => return Some(Vec::new()),
                Stage::Channels(JoinChannels { names: Some(names), .. }) => return Some(names.clone()),
                Stage::Channels(_) => return self.of_inputs(at).map(|names| names.concat()),
                Stage::Transform(_)
                | Stage::Label { .. }
                | Stage::Adopt
                | Stage::View(_)
                | Stage::Augment(_)
                | Stage::Train(_) => {}
                _ => return None,
            }
        }
        None
    }

    /// What each input of `channels` gives.
    fn of_inputs(&self, index: usize) -> Option<Vec<Vec<String>>> {
        let of_input = |input: &Option<usize>| {
            let input = (*input)?;
            let own = || vec![self.stages[input].name.to_owned()];
            // Inputs that join channels themselves are reported; following them could go round in a circle.
            let names = if self.joins(input) { Vec::new() } else { self.names(input)? };
            Some(if names.is_empty() { own() } else { names })
        };
        self.inputs[index].iter().map(of_input).collect()
    }

    /// Whether a stage gives what `channels` has put together.
    fn joins(&self, index: usize) -> bool {
        let mut stages = std::iter::once(index).chain(upstream(self.inputs, index));
        stages.any(|at| matches!(self.built[at], Some(Stage::Channels(_))))
    }

    fn joined(&self, index: usize, join: &JoinChannels, found: &mut Vec<Found>) {
        let stage = &self.stages[index];
        let span = |field: &str| stage.table.key_at(field).map_or(stage.header, |key| key.span);
        if let Some(input) = self.inputs[index].iter().flatten().find(|&&input| self.joins(input)) {
            let message = format!(
                "`{}` gives several channels that are put together already",
                self.stages[*input].name
            );
            found.push(Found::new(span("inputs"), message).hint("name all scans as inputs of one stage"));
            return;
        }
        let others = self.inputs[index].len().saturating_sub(1);
        if let Fill::Each(fills) = &join.fill
            && fills.len() != others
        {
            let message = format!(
                "`fill` with an intensity for each of {others} other inputs expected, {} found",
                fills.len()
            );
            found.push(
                Found::new(span("fill"), message).hint("the first input gives the grid and is never filled"),
            );
        }
        let Some(given) = self.of_inputs(index).map(|names| names.concat()) else { return };
        match &join.names {
            Some(names) if names.len() != given.len() => {
                let message =
                    format!("a name for each of {} channels expected, {} found", given.len(), names.len());
                found.push(
                    Found::new(span("names"), message).hint(format!("the inputs give {}", given.join(", "))),
                );
            }
            Some(_) => {}
            None => {
                if let Err(message) = check_names(&given) {
                    found.push(
                        Found::new(span("inputs"), message).hint("give each channel its own name in `names`"),
                    );
                }
            }
        }
    }

    /// Numbers of the archive are those of one channel.
    fn measured(&self, index: usize, found: &mut Vec<Found>) {
        let Some(names) = self.names(index).filter(|names| names.len() > 1) else { return };
        let stage = &self.stages[index];
        let span = stage.table.key_at("statistics").map_or(stage.header, |key| key.span);
        let message = format!("`statistics = \"archive\"` looks at one channel, {} found", names.join(", "));
        let hint = "let a stage of its own stand before `channels` for each, or leave `statistics` out";
        found.push(Found::new(span, message).hint(hint));
    }

    /// What looks at one channel says at which, of several, and at one that is there.
    fn looked_at(&self, index: usize, channel: Option<&str>, found: &mut Vec<Found>) {
        let Some(names) = index_of_input(self.inputs, index).and_then(|input| self.names(input)) else {
            return;
        };
        let stage = &self.stages[index];
        let span = |field: &str| stage.table.key_at(field).map_or(stage.header, |key| key.span);
        match (channel, names.first()) {
            (None, Some(first)) => {
                let message = format!("`{}` looks at one channel, {} found", stage.name, listed(&names));
                let hint = format!("say which one is meant: `channel = \"{first}\"`");
                found.push(Found::new(span("inputs"), message).hint(hint));
            }
            (Some(channel), _) if !names.iter().any(|name| name == channel) => {
                let message = format!("there is no channel called `{channel}`");
                let none = "scans have one channel, which has no name: leave `channel` out";
                let hint = remedy(channel, names.iter().map(String::as_str), none);
                found.push(Found::new(span("channel"), message).label("unknown channel").hint(hint));
            }
            _ => {}
        }
    }

    /// The names of the channels that a stage is given.
    fn given(&self, index: usize) -> Vec<String> {
        index_of_input(self.inputs, index).and_then(|input| self.names(input)).unwrap_or_default()
    }

    /// Whether a stage is given several channels.
    fn several(&self, index: usize) -> bool {
        self.given(index).len() > 1
    }

    /// Boxes are found in one channel.
    fn detected(&self, index: usize, found: &mut Vec<Found>) {
        let names = self.given(index);
        let stage = &self.stages[index];
        let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
        let message = format!("`rcnn` looks at one channel, {} found", listed(&names));
        found.push(Found::new(span, message).hint("let it take one channel, before the stage `channels`"));
    }

    /// A model is applied to cases of the channels that it was trained on.
    fn inferred(&self, index: usize, found: &mut Vec<Found>) {
        let stage = &self.stages[index];
        let Some(own) = self.names(index_of_input(self.inputs, index).unwrap_or(index)) else { return };
        for named in &stage.references {
            let Some(train) = self.stages.iter().position(|other| other.name == named.stage) else {
                continue;
            };
            let trained =
                matches!(self.built[train], Some(Stage::Train(_))).then(|| self.names(train)).flatten();
            if let Some(trained) = trained.filter(|trained| *trained != own) {
                let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
                let message = format!(
                    "`{}` was trained on channels {}, and `{}` takes {}",
                    named.stage,
                    listed(&trained),
                    stage.name,
                    listed(&own)
                );
                found.push(
                    Found::new(span, message)
                        .hint("give both cases with the same channels in the same order"),
                );
            }
        }
    }
}

fn index_of_input(inputs: &[Vec<Option<usize>>], index: usize) -> Option<usize> {
    inputs[index].first().copied().flatten()
}
