//! The one explicit list of stage types. A downstream crate extends it; nothing registers itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::dicom::Rules;
use tomoflow_connectors::{Geometry, LabelMap};

use super::cases::rule::{Measured, Rule, Settled};
use super::models::train::{NAME as TRAIN, Train};
use super::scores::evaluate::pools::Pool;
use super::source::{InstanceSource, LabelSource, ScanSource};
use super::spec::{Config, Field, FieldKind, FieldProblem, Spec};
use super::value::{Case, Failure, Mask, Metric};
use crate::networks::Extensions;
use crate::networks::extensions::{BuildLoss, BuildNetwork, VERSION};
use crate::voxels::orientation::Reorient;

/// Turns one case into another: resampling, intensities.
pub trait Transform: Send + Sync {
    /// Runs on one case. Pure: the same input gives the same output.
    fn apply(&self, case: &Case) -> Result<Case, Failure>;

    /// Runs on a case of any number of channels: on each by itself, unless what it does to one depends on the others.
    ///
    /// # Errors
    /// As [`Transform::apply`], with the channel's name.
    fn apply_to_all(&self, case: &Case) -> Result<Case, Failure> {
        case.channel_by_channel(|channel| self.apply(channel))
    }

    /// The grid that a case on this one has afterwards, the largest that it may come to: memory is counted by it,
    /// before any voxel is read. One that may only become smaller is counted as it came; so is one that it refuses.
    fn grid(&self, grid: &Geometry) -> Geometry {
        grid.clone()
    }

    /// Returns what the transform does to the axes of a grid: a rule over the archive must know it of what
    /// stands before.
    fn axes(&self) -> Axes {
        Axes::Other
    }

    /// The label that decides what becomes of a scan: its intensities then depend on the case's labels.
    fn around(&self) -> Option<&str> {
        None
    }

    /// Whether voxels that only pad a scan have a say in what it gives, but for this: where they do, it leaves them out,
    /// and the result for a scan that has some depends on which they are.
    fn minds_padding(&self) -> bool {
        false
    }

    /// The rule over the archive that stands where a setting belongs; such a transform runs on no case.
    fn rule(&self) -> Option<Rule> {
        None
    }

    /// Returns what is measured of each case that comes to the transform, whether its rule over intensities
    /// is settled or not.
    fn measures(&self) -> Option<Measured> {
        None
    }

    /// Returns the transform's configuration and itself with what the rule was settled on in its place; none
    /// when it has no such rule.
    fn settled(&self, _config: &Config, _settled: &Settled) -> Option<(Config, Stage)> {
        None
    }
}

/// What a transform does to the axes of a scan's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// The axes stay, and so do their spacings.
    Kept,
    /// The axes are exchanged and turned round, each with its spacing.
    Turned(Reorient),
    /// Spacings may be others afterwards.
    Other,
}

/// Finds labels without a trained network.
pub trait Segmenter: Send + Sync {
    /// Classes on the case's own (perhaps resampled) grid, and their names from label 1 on.
    fn segment(&self, case: &Case) -> Result<(LabelMap, Vec<String>), Failure>;

    /// The names of its labels, where they are the same for every case; none where only a case says them.
    fn label_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What of a scan of several channels it looks at.
    fn looks(&self) -> Looks<'_> {
        Looks::AtAll
    }
}

/// What of a scan of several channels is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks<'a> {
    /// All channels.
    AtAll,
    /// One channel, by its name; without a name the scan must have one alone.
    AtOne(Option<&'a str>),
}

/// Mends a mask on its grid.
pub trait MaskTransform: Send + Sync {
    /// Runs on one mask.
    fn apply(&self, mask: &Mask) -> Result<Mask, Failure>;

    /// Whether a mask has the same labels afterwards, by name.
    fn keeps_names(&self) -> bool {
        false
    }
}

/// Puts masks of one scan together.
pub trait MaskCombiner: Send + Sync {
    /// Runs on the mask of the first input and those of the others, in their order.
    fn combine(&self, first: &Mask, others: &[Mask]) -> Result<Mask, Failure>;
}

/// Compares a mask with the truth.
pub trait Evaluator: Send + Sync {
    /// Figures by label and metric, both label maps on the same grid.
    fn evaluate(&self, mask: &Mask, truth: &Mask) -> Result<Vec<Metric>, Failure>;

    /// Whether it leaves out voxels that nobody labelled, which have the value [`IGNORED`](crate::voxels::ignored::IGNORED)
    /// in both maps then; one that does not is shown background there in both.
    fn leaves_out(&self) -> bool {
        false
    }

    /// Whether there are figures over several cases together, made of what each case adds.
    fn pools(&self) -> bool {
        false
    }

    /// The figures, and what the case adds to those over several cases: of each label that was compared.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    fn judge(&self, mask: &Mask, truth: &Mask) -> Result<(Vec<Metric>, Vec<Pool>), Failure> {
        Ok((self.evaluate(mask, truth)?, Vec::new()))
    }

    /// The figures of one label over several cases, by name.
    fn pooled(&self, _pools: &[Pool]) -> Vec<(String, Option<f64>)> {
        Vec::new()
    }
}

/// A built stage: the parts of the engine that run it differ by role.
#[derive(Clone)]
pub enum Stage {
    /// DICOM instances in a folder (`dicom`).
    Instances(Arc<dyn InstanceSource>),
    /// Scans in files of other formats (`images`, `deeplesion`).
    Scans(Arc<dyn ScanSource>),
    /// Labels of scans (`rtstruct`, `dicom_seg`, `dicom_labels`, `label_images`, `deeplesion_boxes`).
    Labels(Arc<dyn LabelSource>),
    /// Instances to a scan, by the rules of what becomes of missing slices and uneven gaps.
    Assemble(Rules),
    /// A scan and outlines to a case.
    Label {
        /// Whether the newest of several structure sets is taken.
        newest: bool,
    },
    /// Cases with masks in the place of labels that nobody drew.
    Adopt,
    /// Scans of several sources to one case.
    Channels(super::cases::channels::join::JoinChannels),
    /// A transform, from case to case.
    Transform(Arc<dyn Transform>),
    /// A view, from case to samples.
    View(super::samples::view::View),
    /// An augmentation: samples with random changes.
    Augment(Arc<super::samples::augment::changes::Augment>),
    /// A training, from samples to a model.
    Train(Train),
    /// An inference, from case and model to masks.
    Infer(super::models::infer::Infer),
    /// A fusion, from case and atlases to masks.
    Fuse(super::models::fuse_atlases::Fuse),
    /// Case to masks without a model.
    Segment(Arc<dyn Segmenter>),
    /// The labels of cases as masks.
    LabelsAsMasks,
    /// An operator from masks to masks.
    Mask(Arc<dyn MaskTransform>),
    /// Probabilities of labels and cases to masks.
    Crf(super::masks::crf::Crf),
    /// Masks of several stages to masks.
    Combine(Arc<dyn MaskCombiner>),
    /// A painting, from boxes with masks to masks.
    Paint(super::masks::paint::Paint),
    /// A comparison, from masks and cases to metrics.
    Evaluate(Arc<dyn Evaluator>),
    /// A comparison, from boxes and cases to metrics.
    EvaluateBoxes(super::scores::evaluate_boxes::boxes::EvaluateBoxes),
    /// A sink that writes masks to files.
    Files(super::sinks::files::Files),
    /// A sink that writes rows to a table.
    Sink(super::sinks::format::Sink),
}

/// Makes a stage from its checked configuration, or says which fields do not go together.
pub type Build = fn(&Config) -> Result<Stage, Vec<FieldProblem>>;

/// One stage type.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The declaration of the stage type.
    pub spec: &'static Spec,
    /// The function that makes a stage of the type.
    pub build: Build,
}

/// A network or a loss of a downstream crate, which `train` then takes by its name.
#[derive(Clone, Copy)]
pub struct Extension<B> {
    /// The `type` in TOML and in models' cards.
    pub name: &'static str,
    /// The version, raised whenever its code comes to other numbers: it is part of each training's key.
    pub version: u32,
    /// The fields beside `type`.
    pub fields: &'static [Field],
    /// The function that makes it from its checked fields.
    pub build: B,
}

/// A network of a downstream crate.
pub type NetworkPart = Extension<BuildNetwork>;

/// A loss of a downstream crate.
pub type LossPart = Extension<BuildLoss>;

/// A spec whose field takes one more type of table. Specs are told by reference and live as long as the program, and so
/// does this one: a crate registers what it brings once.
///
/// # Errors
/// A problem of the field when it takes no such tables, or has one of that name.
fn with_variant(
    spec: &Spec,
    field: &str,
    name: &'static str,
    variant: Vec<Field>,
) -> Result<&'static Spec, FieldProblem> {
    let mut fields = spec.fields.to_vec();
    let found = fields.iter_mut().find(|known| known.name == field);
    let Some(Field { kind: FieldKind::Tagged(variants), .. }) = found else {
        let message =
            format!("a field of `{}` that takes tables with a `type` expected, `{field}` found", spec.name);
        return Err(FieldProblem::new(field, message, "register it for `network` or `loss`"));
    };
    if variants.iter().any(|(known, _)| *known == name) {
        let message = format!("a name of its own expected, `{name}` is there already");
        return Err(FieldProblem::new(field, message, "take another name"));
    }
    let variant: &'static [Field] = variant.leak();
    *variants = [*variants, &[(name, variant)]].concat().leak();
    Ok(Box::leak(Box::new(Spec { fields: fields.leak(), ..*spec })))
}

/// Makes the field by which the version of an extension's code is part of what a training's key is made from.
fn version_field(version: u32) -> Field {
    let default: &'static str = Box::leak(version.to_string().into_boxed_str());
    let (min, max) = (i64::from(version), i64::from(version));
    let doc = "The version of its code, which nobody needs to give.";
    Field::semantic(VERSION, FieldKind::Integer { min, max }, default, doc)
}

/// All stage types that a pipeline may name, and the networks and losses that a downstream crate adds to `train`.
#[derive(Clone)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    extensions: Extensions,
}

impl Registry {
    /// A registry without any type.
    pub fn empty() -> Self {
        Self { entries: BTreeMap::new(), extensions: Extensions::default() }
    }

    /// The types that tomoflow brings.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        for entry in super::BUILTIN.into_iter().flatten() {
            registry.register(*entry);
        }
        registry
    }

    /// Adds a type, or replaces the one of the same name.
    pub fn register(&mut self, entry: Entry) -> &mut Self {
        self.entries.insert(entry.spec.name, entry);
        self
    }

    /// Adds a network to those that `train` takes: `network = { type = "NAME", … }`. A model that it gives is read
    /// wherever it is registered by the same name.
    ///
    /// # Errors
    /// A problem of `network` for a name that tomoflow's own networks have, or one that is registered already.
    pub fn register_network(&mut self, part: NetworkPart) -> Result<&mut Self, FieldProblem> {
        let Extension { name, version, fields, build } = part;
        self.extend("network", name, version, fields)?;
        self.extensions.add_network(name, version, build);
        Ok(self)
    }

    /// Adds a loss to those that `train` takes: `loss = { type = "NAME", … }`.
    ///
    /// # Errors
    /// A problem of `loss` for a name that tomoflow's own losses have, or one that is registered already.
    pub fn register_loss(&mut self, part: LossPart) -> Result<&mut Self, FieldProblem> {
        let Extension { name, version, fields, build } = part;
        self.extend("loss", name, version, fields)?;
        self.extensions.add_loss(name, version, build);
        Ok(self)
    }

    /// Lets a field of `train` take one more type of table.
    fn extend(
        &mut self,
        field: &str,
        name: &'static str,
        version: u32,
        fields: &[Field],
    ) -> Result<(), FieldProblem> {
        let trains = TRAIN;
        let nowhere =
            || FieldProblem::new(field, format!("no `{trains}` is registered"), "register it first");
        let entry = self.entries.get_mut(trains).ok_or_else(nowhere)?;
        let with_version: Vec<Field> = fields.iter().copied().chain([version_field(version)]).collect();
        entry.spec = with_variant(entry.spec, field, name, with_version)?;
        Ok(())
    }

    /// The networks and losses of downstream crates.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns all types, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}
