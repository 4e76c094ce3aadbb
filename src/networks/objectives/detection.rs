//! Detection: one network, a loss for each of its parts, judged by the boxes that it finds.

use tch::Tensor;

use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::metrics::detection::{Bounds, Found, Scored, average_precision, sensitivities};
use crate::networks::architectures::rcnn::{Losses, Rcnn, Truth, TruthMask, spread_name, told};
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::weights::Weights;
use crate::networks::{
    FindOptions, FoundBox, Instance, NetworkConfig, NetworkError, NetworkSettings, Precision, Sample, Target,
    Task, TrainSettings,
};

/// Overlap from which on a thing is found.
const LEAST_IOU: f64 = 0.5;

/// False positives an image at which the sensitivity is told.
const FALSE_POSITIVES: [f64; 1] = [1.0];

/// Detection.
pub struct Detection {
    config: NetworkConfig,
    network: Rcnn,
    label_names: Vec<String>,
}

impl Detection {
    /// Makes what these settings ask for.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no detector can be built from them, or trained so.
    pub fn new(settings: &TrainSettings, task: &Task) -> Result<Self, NetworkError> {
        let refuse = |field: &str, message: &str| {
            Err(NetworkError::Config { field: field.to_owned(), message: message.to_owned() })
        };
        let NetworkSettings::Rcnn(declared) = &settings.network else {
            return refuse("network", "a detector expected, a network with a class for each voxel found");
        };
        if settings.precision != Precision::Float32 {
            return refuse("precision", "`rcnn` is trained with \"float32\" alone");
        }
        let config = declared.resolve(&task.view, task.label_names.len() + 1)?;
        let network = Rcnn::new(&config)?;
        Ok(Self { config: NetworkConfig::Rcnn(config), network, label_names: task.label_names.clone() })
    }
}

/// The samples of a batch as images `[B, C, H, W]`.
fn images(input: &Tensor) -> Result<Tensor, NetworkError> {
    let size = input.size();
    if size.len() != 5 || size[2] != 1 {
        return Err(NetworkError::Shape {
            what: "a sample".to_owned(),
            expected: "one slice, with its neighbours as channels".to_owned(),
            found: format!("{size:?}"),
        });
    }
    Ok(input.f_squeeze_dim(2)?)
}

/// The things of a sample.
fn things(sample: &Sample) -> Result<&[Instance], NetworkError> {
    match &sample.target {
        Target::Instances(things) => Ok(things),
        other => Err(NetworkError::Shape {
            what: "a sample's target".to_owned(),
            expected: "instances".to_owned(),
            found: other.name().to_owned(),
        }),
    }
}

/// Returns what there is on the image of a sample; of masks what is known, where these are learned.
fn truth(sample: &Sample, masks: bool) -> Result<Truth, NetworkError> {
    let things = things(sample)?;
    let [.., height, width] = sample.shape;
    let image = [height as i64, width as i64];
    let mask = |thing: &Instance| Some(TruthMask::new(thing.mask.clone()?, image));
    let edges = |thing: &Instance| [thing.low[2], thing.low[1], thing.high[2], thing.high[1]].map(f64::from);
    Ok(Truth {
        boxes: things.iter().map(edges).collect(),
        classes: things.iter().map(|thing| i64::from(thing.class)).collect(),
        masks: if masks { things.iter().filter_map(mask).collect() } else { Vec::new() },
    })
}

impl Objective for Detection {
    fn identity(&self) -> Option<String> {
        Some("detection".to_owned())
    }

    fn learners(&self) -> Vec<Pupil> {
        vec![Pupil { name: "network".to_owned(), layout: self.network.layout().clone(), rule: None }]
    }

    fn network(&self) -> &NetworkConfig {
        &self.config
    }

    fn teaches(&self) -> Teaches {
        Teaches::Instances
    }

    fn figures(&self) -> Vec<Recorded> {
        let recorded =
            |name: &&str| Recorded { loss: (*name).to_owned(), figure: Some(format!("{name}_loss")) };
        let losses = self.network.told_by().iter().map(recorded);
        let parts = match &self.config {
            NetworkConfig::Rcnn(config) => {
                config.attention.map_or([false; 2], |attention| [attention.channel, attention.spatial])
            }
            _ => [false; 2],
        };
        let spreads = self.network.attends().into_iter().flat_map(|module| {
            let kinds = [false, true].into_iter().zip(parts).filter(|(_, there)| *there);
            kinds.map(move |(pixels, _)| spread_name(&module, pixels)).collect::<Vec<_>>()
        });
        losses.chain(spreads.map(|name| Recorded { loss: name.clone(), figure: Some(name) })).collect()
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let Some(Learner { weights, .. }) = learners.first() else { return Ok(Vec::new()) };
        let truths = batch
            .samples
            .iter()
            .map(|sample| truth(sample, self.network.gives_masks()))
            .collect::<Result<Vec<_>, _>>()?;
        let seed = (moment.seed, moment.batch);
        let Losses { losses, spread } =
            self.network.losses(weights, &images(&batch.input)?, &truths, seed, moment.mode())?;
        let each = self.network.told_by().iter().zip(losses);
        let mut all: Vec<Loss> =
            each.map(|(name, value)| Loss { name: (*name).to_owned(), value, moves: Some(0) }).collect();
        for (module, kinds) in spread {
            for (pixels, even) in [false, true].into_iter().zip(kinds) {
                let Some(even) = even else { continue };
                all.push(Loss { name: spread_name(&module, pixels), value: told(even)?, moves: None });
            }
        }
        Ok(all)
    }

    fn decides(&self) -> &str {
        "ap50"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        let images = self.label_names.iter().map(|_| Vec::new()).collect();
        Box::new(Precisions { objective: self, images })
    }
}

/// The average precisions of a validation: for each class all images with what was found and what is there.
struct Precisions<'a> {
    objective: &'a Detection,
    images: Vec<Vec<Found<2>>>,
}

impl Score for Precisions<'_> {
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError> {
        let input = images(&batch.input)?;
        let found = self.objective.network.find(model, &input, &FindOptions::default(), Mode::Infer)?;
        for (sample, found) in batch.samples.iter().zip(found) {
            let things = things(sample)?;
            for (class, images) in (1..).zip(&mut self.images) {
                images.push(of_class(class, &found, things));
            }
        }
        Ok(())
    }

    /// The mean over classes that there is anything of, and each class's own where there are several.
    fn figures(&self) -> Vec<(String, f64)> {
        let of = |images: &Vec<Found<2>>| {
            let sensitivity = sensitivities(images, LEAST_IOU, &FALSE_POSITIVES)?;
            Some((average_precision(images, LEAST_IOU)?, *sensitivity.first()?))
        };
        let each: Vec<Option<(f64, f64)>> = self.images.iter().map(of).collect();
        let there: Vec<(f64, f64)> = each.iter().copied().flatten().collect();
        if there.is_empty() {
            return Vec::new();
        }
        let mean = |of: fn(&(f64, f64)) -> f64| there.iter().map(of).sum::<f64>() / there.len() as f64;
        let mut figures = vec![
            (self.objective.decides().to_owned(), mean(|(precision, _)| *precision)),
            ("sensitivity_at_1".to_owned(), mean(|(_, sensitivity)| *sensitivity)),
        ];
        let names = &self.objective.label_names;
        if names.len() > 1 {
            let each = names.iter().zip(each);
            figures.extend(each.filter_map(|(name, found)| Some((format!("ap50.{name}"), found?.0))));
        }
        figures
    }
}

fn of_class(class: u8, found: &[FoundBox], things: &[Instance]) -> Found<2> {
    let predicted = found.iter().filter(|found| found.class == class).map(|found| {
        let [x1, y1, x2, y2] = found.bounds;
        Scored { bounds: Bounds { low: [y1, x1], high: [y2, x2] }, score: found.score }
    });
    let reference = things.iter().filter(|thing| thing.class == class).map(|thing| {
        let plane = |edges: [f32; 3]| [f64::from(edges[1]), f64::from(edges[2])];
        Bounds { low: plane(thing.low), high: plane(thing.high) }
    });
    Found { predicted: predicted.collect(), reference: reference.collect() }
}

#[cfg(test)]
mod tests;
