//! The dataflow: series → cases with labels → wanted actions → what tables must hold.
//!
//! Every stage of the plan becomes a few operators over small rows. Actions that are done come in as
//! `outcomes`, an input like any other, so that a change anywhere is only an update.

mod acts;
mod adopt;
mod binding;
mod cases;
mod channels;
mod copies;
mod ensemble;
mod inputs;
mod labels;
mod masks;
mod models;
mod refine;
mod remarks;
mod several;
mod split;
mod start;
mod strays;
mod summary;
mod unlabelled;

pub use inputs::Inputs;
pub(super) use split::{SHORT, UNKNOWN_NAME};
pub(super) use start::SAW;
pub(super) use unlabelled::is_judged_anyhow;

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use timely::dataflow::Scope;
use tomoflow_connectors::{Digest, Reject};

use start::{Begun, Learned};
use summary::Judged;

use super::rows::{Conclusion, Desired, ImagesRow, MadeMask, ModelRow, Provenance, Stands};
use crate::executor::keys;
use crate::executor::work::{Action, BoundCase, OutlinesRow, SeriesRow, Verdict, Work};
use crate::operators::cases::rule::{Measured, Rule};
use crate::operators::cases::tally::Counted;
use crate::operators::registry::Stage;
use crate::pipeline::{Plan, StageId};
use crate::store::Outcome;

/// Time: an epoch for each batch of changes.
pub type Time = u64;

/// The outcomes of actions, by key.
type Outcomes<'s> = Arranged<'s, TraceAgent<ValSpine<Digest, Outcome, Time, isize>>>;

pub(super) type Rows<'s, D> = VecCollection<'s, Time, D, isize>;

/// What stages have given so far, while the dataflow is built.
pub(super) struct Built<'s, 'p> {
    plan: &'p Plan,
    outlines: BTreeMap<usize, Rows<'s, Arc<OutlinesRow>>>,
    /// Series of images that are labels.
    label_series: BTreeMap<usize, Rows<'s, Arc<SeriesRow>>>,
    cases: BTreeMap<usize, Rows<'s, (Arc<str>, BoundCase)>>,
    models: BTreeMap<usize, Rows<'s, ((), ModelRow)>>,
    /// The cases that models have learned from, where any training begins with another one's model.
    learned: BTreeMap<usize, Rows<'s, ((), Learned)>>,
    masks: BTreeMap<usize, Rows<'s, (Arc<str>, MadeMask)>>,
    /// What inferences left beside their masks, of those that somebody reads.
    maps: BTreeMap<usize, refine::WithMaps<'s>>,
    /// Cases of which a mask comes sooner or later, of stages whose masks are adopted.
    expected: BTreeMap<usize, Rows<'s, Arc<str>>>,
    /// Cases whose mask is to be adopted once it is there.
    pending: BTreeMap<usize, Rows<'s, (Arc<str>, BoundCase)>>,
    /// Cases with the masks that an `adopt` is given, drawn ones too.
    lent: BTreeMap<usize, Rows<'s, (Arc<str>, BoundCase)>>,
    /// The outcomes by key, arranged once for all stages that ask.
    outcomes: Outcomes<'s>,
    /// Cases of every stage that makes some, for the table `cases`.
    described: BTreeMap<usize, Rows<'s, (Arc<str>, BoundCase)>>,
    outputs: Vec<Rows<'s, Conclusion>>,
    names: Arc<[Arc<str>]>,
}

/// Builds the dataflow of a plan; what comes out is all wanted actions and all desired rows.
pub fn build<'s>(scope: Scope<'s, Time>, plan: &Plan, inputs: &mut Inputs) -> Rows<'s, Conclusion> {
    let known = Known {
        series: inputs.series.to_collection(scope),
        outlines: inputs.outlines.to_collection(scope),
        images: inputs.images.to_collection(scope),
        pins: inputs.pins.to_collection(scope),
        files: inputs.files.to_collection(scope),
    };
    let mut built = Built {
        plan,
        outlines: BTreeMap::new(),
        label_series: BTreeMap::new(),
        cases: BTreeMap::new(),
        models: BTreeMap::new(),
        learned: BTreeMap::new(),
        masks: BTreeMap::new(),
        maps: BTreeMap::new(),
        expected: BTreeMap::new(),
        pending: BTreeMap::new(),
        lent: BTreeMap::new(),
        outcomes: inputs.outcomes.to_collection(scope).arrange_by_key(),
        described: BTreeMap::new(),
        outputs: Vec::new(),
        names: plan.stages.iter().map(|stage| Arc::from(stage.name.as_str())).collect(),
    };
    for index in 0..plan.stages.len() {
        built.stage(index, &known);
    }
    built.remark(inputs.remarks.to_collection(scope));
    built.describe_all();
    match built.outputs.pop() {
        Some(first) => first.concatenate(built.outputs).consolidate(),
        None => built.outcomes.as_collection(|_, _| ()).flat_map(|()| None),
    }
}

/// What comes from outside, each row with the stage that it is for.
struct Known<'s> {
    series: Rows<'s, (StageId, Verdict)>,
    outlines: Rows<'s, (StageId, Arc<OutlinesRow>)>,
    images: Rows<'s, (StageId, Arc<ImagesRow>)>,
    pins: Rows<'s, (StageId, Begun)>,
    files: Rows<'s, (StageId, Digest)>,
}

/// The rows for one stage.
fn own<'s, D: differential_dataflow::Data>(rows: &Rows<'s, (StageId, D)>, index: usize) -> Rows<'s, D> {
    rows.clone().flat_map(move |(stage, row)| (stage.place() == index).then_some(row))
}

impl<'s> Built<'s, '_> {
    /// Adds one stage, whose inputs have been added.
    fn stage(&mut self, index: usize, known: &Known<'s>) {
        let plan = self.plan;
        let stage = &plan.stages[index];
        match &stage.stage {
            // Its files become series in the archive, before the dataflow.
            Stage::Instances(_) => {}
            Stage::Labels(_) => {
                self.outlines.insert(index, own(&known.outlines, index));
                self.take_label_series(index, own(&known.series, index));
            }
            Stage::Assemble(_) | Stage::Scans(_) => self.assemble(index, own(&known.series, index)),
            Stage::Label { newest } => {
                let images = own(&known.images, plan.origin(index));
                self.label(index, *newest, images);
            }
            Stage::Adopt => self.adopt(index),
            Stage::Channels(join) => self.channels(index, join),
            // Fused: what they depend on is in the chain's key, and they run inside its action.
            Stage::Transform(transform) => {
                let mut cases = self.cases[&stage.inputs[0]].clone();
                if let Some(measured) = transform.measures() {
                    self.measure(index, measured, cases.clone());
                }
                // Nothing follows before its cases are measured.
                if let Some(Rule::Intensities(_)) = transform.rule() {
                    cases = cases.filter(|_| false);
                }
                if stage.keep {
                    self.keep(index, cases.clone());
                }
                self.cases.insert(index, cases);
            }
            Stage::View(_) | Stage::Augment(_) => {
                let cases = self.cases[&stage.inputs[0]].clone();
                self.cases.insert(index, cases);
            }
            Stage::Train(train) => {
                let start = self.start(index, train, own(&known.files, index));
                let pins = start::in_force(own(&known.pins, index), start.as_ref());
                self.train(index, train, pins, start);
                self.tell_learned(index);
            }
            Stage::Infer(infer) => self.infer(index, infer, own(&known.files, index)),
            Stage::Fuse(_) => self.apply_models(index, ensemble::Chosen::ALL, own(&known.files, index)),
            Stage::Segment(_) => self.segment(index),
            Stage::Mask(_) | Stage::Paint(_) => self.mask(index),
            Stage::LabelsAsMasks => self.labels_as_masks(index),
            Stage::Combine(_) => self.combine(index),
            Stage::Crf(_) => self.refine(index),
            Stage::Evaluate(_) | Stage::EvaluateBoxes(_) => self.evaluate(index),
            Stage::Sink(_) | Stage::Files(_) => {}
        }
    }

    /// Has the transformed scan written (`keep = true`), so that later actions on it start from there.
    fn keep(&mut self, index: usize, cases: Rows<'s, (Arc<str>, BoundCase)>) {
        let chain = keys::Chain::to(self.plan, index);
        let wanted = cases.map(move |(_, case)| {
            let case = chain.seen(case);
            let key = keys::prepare(chain.scan(&case), chain.labels(&case));
            (Action { key, stage: StageId::at(index), work: Work::Prepare(case) }, ())
        });
        self.act(wanted);
    }

    /// Counts the intensities of every case that a rule looks at.
    fn measure(&mut self, index: usize, measured: Measured, cases: Rows<'s, (Arc<str>, BoundCase)>) {
        let (chain, stage) =
            (keys::Chain::to(self.plan, self.plan.stages[index].inputs[0]), StageId::at(index));
        let by_labels = measured.counted == Counted::Labelled;
        let wanted = cases.flat_map(move |(_, case)| {
            if by_labels && case.labels.is_none() {
                return None;
            }
            let case = if by_labels { case } else { chain.seen(case) };
            let labels = chain.labels(&case).filter(|_| by_labels);
            let key =
                keys::measure(measured.counted, chain.scan(&case), labels, case.first().padding().as_deref());
            Some((Action { key, stage, work: Work::Measure(case) }, ()))
        });
        let left = self.act(wanted);
        self.outputs.push(left.map(move |(_, (), left)| Conclusion::Measured(stage, left.artifact)));
    }

    /// Cases without labels as rejects of a stage that looks at what is labelled.
    pub(super) fn refuse_unlabelled(&mut self, index: usize, cases: &Rows<'s, (Arc<str>, BoundCase)>) {
        let name = self.names[index].clone();
        self.outputs.push(cases.clone().flat_map(move |(_, case)| {
            let (message, hint) =
                ("labels that mark slices expected, none found", "`slices = \"all\"` needs none");
            let told = Desired::Reject {
                case: Some(case.series.key.to_string()),
                stage: name.clone(),
                reject: Reject::new("NO_LABELS", message, hint),
                attempts: 0,
            };
            case.labels.is_none().then(|| Conclusion::desired(told))
        }));
    }

    fn evaluate(&mut self, index: usize) {
        let inputs = &self.plan.stages[index].inputs;
        let (masks, cases) = (self.masks[&inputs[0]].clone(), self.cases[&inputs[1]].clone());
        let operator = keys::operator(&self.plan.stages[index]);
        let wanted = masks.join(cases).flat_map(move |(_, (mask, case))| {
            // Truth is compared on the original grid, so what transforms did to it takes no part.
            let labels = case.labels.as_ref()?.digest;
            let key = keys::action(operator, &[mask.mask, labels]);
            let work = Work::against_labels(case, mask.mask);
            let stands = mask.model.as_ref().and_then(|used| used.stands);
            let part = stands.map_or("", Stands::name).to_owned();
            Some((Action { key, stage: StageId::at(index), work }, (part, mask.from.model)))
        });
        let name = self.names[index].clone();
        let judged = self.act(wanted).flat_map(move |(action, (split, model), left)| {
            let series = action.work.series()?;
            let from = Provenance { stage: name.clone(), action: action.key, model };
            let vendor = series.manufacturer.clone();
            let case = series.key.clone();
            let judged = Judged { case, split, vendor, figures: left.figures, from };
            Some((series.clone(), judged, left.detail))
        });
        self.outputs.push(judged.clone().map(|(series, judged, _)| {
            let Judged { figures, split, from, .. } = judged;
            Conclusion::desired(Desired::Metrics { series, figures, split, from })
        }));
        self.pool(index, judged.clone().flat_map(|(_, judged, pools)| Some((judged, pools?))));
        self.summarise(index, judged.map(|(_, judged, _)| judged));
    }

    /// The names of the labels of each stage that reads some, by its place in the plan.
    fn label_names(&self) -> BTreeMap<StageId, Vec<String>> {
        let stages = self.plan.stages.iter().enumerate().filter_map(|(number, stage)| match &stage.stage {
            Stage::Labels(source) => Some((StageId::at(number), source.label_names())),
            _ => None,
        });
        stages.collect()
    }
}
