//! Stages to a graph: who feeds whom, with what, and in which order.

use std::collections::BTreeMap;

use super::declare::Declared;
use super::fields::Reference;
use super::order;
use super::problem::{Found, Span};
use super::suggest::{count, listed, remedy};
use crate::operators::registry::Registry;
use crate::operators::spec::{Kind, Output, Port, Section, Spec};

/// The edges of a pipeline; all by the stage's place in the file.
pub(super) struct Wiring {
    /// Stages on the inputs; `None` for a name that is not one.
    pub inputs: Vec<Vec<Option<usize>>>,
    /// Stages that fields name, by the place of the name among the stage's references; `None` as above.
    pub references: Vec<Vec<Option<usize>>>,
    /// What stages give, where that is known.
    pub outputs: Vec<Option<Kind>>,
    /// Each stage after all that it depends on, else in the order of the file.
    pub order: Vec<usize>,
}

/// Wires stages; `complete` is false when headers were lost, so that an unknown name says nothing.
pub(super) fn wire(
    stages: &[Declared],
    complete: bool,
    registry: &Registry,
    found: &mut Vec<Found>,
) -> Wiring {
    let mut names = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        names.entry(stage.name).or_insert(index);
    }
    let mut wirer = Wirer { stages, names, complete, registry, found };
    let inputs: Vec<_> = (0..stages.len()).map(|index| wirer.inputs(index)).collect();
    let references: Vec<_> = (0..stages.len()).map(|index| wirer.references(index)).collect();
    let edges: Vec<Vec<(usize, Span)>> = (0..stages.len())
        .map(|index| {
            let wired = stages[index].inputs.iter().flatten().zip(&inputs[index]);
            let wired = wired.enumerate().filter_map(|(place, (input, from))| {
                let from = (*from)?;
                let accepts = stages[index].port(place).map(|port| port.accepts);
                accepts.is_none_or(|accepts| stages[from].may_give(accepts)).then_some((from, input.span))
            });
            let named = stages[index].references.iter().zip(&references[index]);
            let named = named.filter_map(|(named, from)| {
                let from = (*from)?;
                stages[from].may_give(&[named.kind]).then_some((from, named.span))
            });
            wired.chain(named).collect()
        })
        .collect();
    let (order, cycles) = order::sort(&edges);
    for cycle in cycles {
        wirer.cycle(&cycle);
    }
    let mut outputs = vec![None; stages.len()];
    // Those in circles are left out of the order; what they give does not depend on it, or is not known.
    for index in order.iter().copied().chain(0..stages.len()) {
        outputs[index] = wirer.output(index, &inputs[index], &outputs);
    }
    for index in 0..stages.len() {
        wirer.kinds(index, &inputs[index], &outputs);
        wirer.reference_kinds(index, &references[index], &outputs);
    }
    wirer.unused(&edges);
    Wiring { inputs, references, outputs, order }
}

struct Wirer<'a> {
    stages: &'a [Declared<'a>],
    names: BTreeMap<&'a str, usize>,
    complete: bool,
    registry: &'a Registry,
    found: &'a mut Vec<Found>,
}

impl Wirer<'_> {
    /// The stage of a name that `index` uses.
    fn lookup(&mut self, name: &str, span: Span, index: usize) -> Option<usize> {
        match self.names.get(name) {
            Some(&at) if at == index => {
                let problem = Found::new(span, format!("`{name}` takes itself as an input"));
                self.found.push(problem.label("its own name").hint("name the stage that comes before it"));
                None
            }
            Some(&at) => Some(at),
            None => {
                if self.complete {
                    let own = self.stages[index].name;
                    let others = self.stages.iter().filter(|stage| stage.section != Section::Sinks);
                    let others = others.map(|stage| stage.name).filter(|other| *other != own);
                    let hint = match name.split_once('.').filter(|(_, name)| self.names.contains_key(name)) {
                        Some((_, name)) => format!("write `{name}`: names stand without their section"),
                        None => remedy(name, others, "no other stage is declared"),
                    };
                    let problem = Found::new(span, format!("there is no stage called `{name}`"));
                    self.found.push(problem.label("unknown stage").hint(hint));
                }
                None
            }
        }
    }

    fn inputs(&mut self, index: usize) -> Vec<Option<usize>> {
        let stage = &self.stages[index];
        let Some(inputs) = &stage.inputs else {
            if let Some(spec) = stage.spec()
                && stage.inputs_span.is_none()
                && !spec.inputs.is_empty()
                && !stage.table.damaged
            {
                let problem = Found::new(stage.header, format!("`{}` needs `inputs`", spec.name));
                let hint = self.all_wanted(spec.name, spec.inputs, index);
                self.found.push(problem.label("`inputs` is missing").hint(hint));
            }
            return Vec::new();
        };
        if let Some(spec) = stage.spec()
            && stage.section != Section::Sources
        {
            let ports = spec.inputs;
            let many = ports.last().is_some_and(|port| port.many);
            let fits = if many { inputs.len() >= ports.len() } else { inputs.len() == ports.len() };
            if !fits {
                let span = stage.inputs_span.unwrap_or(stage.header);
                let problem = Found::new(span, format!("`{}` takes {}", spec.name, takes(ports)));
                let hint = self.all_wanted(spec.name, ports, index);
                self.found.push(problem.label(format!("{} found", count(inputs.len()))).hint(hint));
            }
        }
        let mut wired = Vec::new();
        for (place, input) in inputs.iter().enumerate() {
            if inputs.iter().take(place).any(|earlier| earlier.name == input.name) {
                let problem =
                    Found::new(input.span, format!("`{}` is wired twice to `{}`", input.name, stage.name));
                self.found.push(problem.label("the second time"));
            }
            wired.push(self.lookup(&input.name, input.span, index));
        }
        wired
    }

    fn references(&mut self, index: usize) -> Vec<Option<usize>> {
        let references = &self.stages[index].references;
        let mut found = Vec::new();
        for (place, named) in references.iter().enumerate() {
            let same =
                |earlier: &&Reference| (&earlier.field, &earlier.stage) == (&named.field, &named.stage);
            if references.iter().take(place).any(|earlier| same(&earlier)) {
                let message = format!("`{}` names `{}` twice", named.field, named.stage);
                self.found.push(Found::new(named.span, message).label("the second time"));
            }
            found.push(self.lookup(&named.stage, named.span, index));
        }
        found
    }

    /// What a stage gives, from what its first input gives.
    fn output(&self, index: usize, inputs: &[Option<usize>], outputs: &[Option<Kind>]) -> Option<Kind> {
        let spec = self.stages[index].spec()?;
        match spec.output {
            Output::Is(kind) => Some(kind),
            Output::Nothing => None,
            Output::SameAsInput => {
                let kind = outputs[(*inputs.first()?)?]?;
                spec.inputs.first().is_some_and(|port| port.accepts.contains(&kind)).then_some(kind)
            }
        }
    }

    /// Whether each input gives what its port takes.
    fn kinds(&mut self, index: usize, inputs: &[Option<usize>], outputs: &[Option<Kind>]) {
        let stage = &self.stages[index];
        let Some(spec) = stage.spec() else { return };
        for (place, (input, from)) in stage.inputs.iter().flatten().zip(inputs).enumerate() {
            if let (Some(from), Some(port)) = (from, stage.port(place))
                && let Some(problem) = self.mismatch(*from, port.accepts, input.span, outputs)
            {
                let wanted = self.wanted(port.accepts, index, outputs);
                self.found.push(problem.hint(format!("`{}` takes {wanted}", spec.name)));
            }
        }
    }

    fn reference_kinds(&mut self, index: usize, references: &[Option<usize>], outputs: &[Option<Kind>]) {
        for (named, from) in self.stages[index].references.iter().zip(references) {
            if let Some(from) = *from
                && let Some(problem) = self.mismatch(from, &[named.kind], named.span, outputs)
            {
                let wanted = self.wanted(&[named.kind], index, outputs);
                self.found.push(problem.hint(format!("`{}` names {wanted}", named.field)));
            }
        }
    }

    fn mismatch(&self, from: usize, accepts: &[Kind], span: Span, outputs: &[Option<Kind>]) -> Option<Found> {
        let stage = &self.stages[from];
        let spec = stage.spec()?;
        let verb = if accepts == [Kind::Model] { "is" } else { "are" };
        let wanted = format!("where {} {verb} expected", kinds(accepts));
        match (spec.output, outputs[from]) {
            (Output::Nothing, _) => {
                let message = format!("`{}` is a sink and gives nothing, {wanted}", stage.name);
                Some(Found::new(span, message).label("a sink"))
            }
            (_, Some(kind)) if !accepts.contains(&kind) => {
                let message = format!("`{}` gives {} {wanted}", stage.name, kind.name());
                let label = format!("{} of type `{}`", singular(stage.section), spec.name);
                Some(Found::new(span, message).label(label))
            }
            _ => None,
        }
    }

    /// What is wanted and who gives it, in the file or at all: `scans, which `volume` gives`.
    fn wanted(&self, accepts: &[Kind], not: usize, outputs: &[Option<Kind>]) -> String {
        let fits = |kind: Option<Kind>| kind.is_some_and(|kind| accepts.contains(&kind));
        let stages: Vec<_> = (0..self.stages.len())
            .filter(|index| *index != not && fits(outputs[*index]))
            .map(|index| format!("`{}`", self.stages[index].name))
            .collect();
        let types: Vec<_> = self
            .registry
            .entries()
            .filter(|entry| fits(given(entry.spec)))
            .map(|entry| format!("`{}`", entry.spec.name))
            .collect();
        let kinds = kinds(accepts);
        match (stages.len(), types.len()) {
            (0, 0) => kinds,
            (0, _) => format!("{kinds}, which a stage of type {} would give", listed(&types, "or")),
            (1, _) => format!("{kinds}, which `{}` gives", stages.concat().trim_matches('`')),
            _ => format!("{kinds}, which {} give", listed(&stages, "and")),
        }
    }

    /// A remedy for missing inputs: what each port takes.
    fn all_wanted(&self, name: &str, ports: &[Port], index: usize) -> String {
        if ports.is_empty() {
            return "leave `inputs` out".to_owned();
        }
        let outputs: Vec<_> = self.stages.iter().map(|stage| given(stage.spec()?)).collect();
        let each: Vec<_> = ports.iter().map(|port| self.wanted(port.accepts, index, &outputs)).collect();
        format!("`{name}` takes {}", each.join("; then "))
    }

    fn cycle(&mut self, cycle: &[(usize, Span)]) {
        let Some((first, span)) = cycle.first() else { return };
        let mut way: Vec<_> = cycle.iter().map(|(index, _)| self.stages[*index].name).collect();
        way.push(self.stages[*first].name);
        way.reverse();
        let message = format!("`{}` depends on itself", self.stages[*first].name);
        let problem = Found::new(*span, message).label("closes a circle");
        self.found.push(problem.hint(format!("the circle is {}", way.join(" → "))));
    }

    /// Warns of stages whose output goes nowhere.
    fn unused(&mut self, edges: &[Vec<(usize, Span)>]) {
        let mut used = vec![false; self.stages.len()];
        for (from, _) in edges.iter().flatten() {
            used[*from] = true;
        }
        for (stage, used) in self.stages.iter().zip(used) {
            if !used && !stage.common.keep && stage.section != Section::Sinks {
                let problem = Found::new(stage.key, format!("nothing uses `{}`", stage.name)).warning();
                let hint = match stage.section {
                    Section::Operators => "name it in the `inputs` of a stage or sink, or set `keep = true`",
                    _ => "name it in the `inputs` of a stage, or leave it out",
                };
                self.found.push(problem.label("its output goes nowhere").hint(hint));
            }
        }
    }
}

/// What stages of a type always give.
fn given(spec: &Spec) -> Option<Kind> {
    match spec.output {
        Output::Is(kind) => Some(kind),
        Output::SameAsInput | Output::Nothing => None,
    }
}

impl Declared<'_> {
    /// The port of an input, by its place in `inputs`.
    fn port(&self, place: usize) -> Option<&'static Port> {
        let ports = self.spec()?.inputs;
        ports.get(place).or(ports.last().filter(|port| port.many))
    }

    /// Whether its output may be one of these kinds; true where that is not known yet. A wrong wire is
    /// reported for itself and closes no circle.
    fn may_give(&self, accepts: &[Kind]) -> bool {
        match self.spec().map(|spec| spec.output) {
            Some(Output::Nothing) => false,
            Some(Output::Is(kind)) => accepts.contains(&kind),
            Some(Output::SameAsInput) | None => true,
        }
    }
}

fn singular(section: Section) -> &'static str {
    match section {
        Section::Sources => "a source",
        Section::Operators => "an operator",
        Section::Sinks => "a sink",
    }
}

/// `two inputs, scans and outlines`
fn takes(ports: &[Port]) -> String {
    let names: Vec<_> = ports.iter().map(|port| port.name).collect();
    match ports {
        [] => "no inputs".to_owned(),
        [.., last] if last.many => format!("at least {} of {}", inputs(ports.len()), listed(&names, "and")),
        _ => format!("{}, {}", inputs(ports.len()), listed(&names, "and")),
    }
}

fn inputs(number: usize) -> String {
    format!("{} input{}", count(number), if number == 1 { "" } else { "s" })
}

/// `scans or cases`
pub(super) fn kinds(kinds: &[Kind]) -> String {
    listed(&kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(), "or")
}
