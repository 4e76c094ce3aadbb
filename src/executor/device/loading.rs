//! Models as inference needs them, from artifacts or from files.

use tomoflow_connectors::{Digest, Reject};

use crate::executor::ending::network;
use crate::executor::load::Context;
use crate::executor::model_files::unchanged;
use crate::networks::{Detector, Device, Model};
use crate::operators::models::infer::Infer;
use crate::operators::models::origin::{ModelFile, ModelSource};

pub(super) fn load_model(
    context: &Context,
    device: Device,
    infer: &Infer,
    digests: &[Digest],
) -> Result<Model, Reject> {
    let extensions = &context.plan.extensions;
    let files = match &infer.model {
        ModelSource::Stages(_) => {
            let model = |&digest| {
                Model::from_safetensors_with(&context.artifact(digest)?, device, extensions).map_err(network)
            };
            let models = digests.iter().map(model).collect::<Result<Vec<_>, _>>()?;
            return Model::ensemble(models)
                .and_then(|model| model.with_thresholds(&infer.thresholds))
                .map_err(network);
        }
        ModelSource::Files(files) => files,
    };
    let contents = unchanged(files, ModelSource::content(digests))?;
    let models = files.iter().zip(&contents).map(|(file, bytes)| match file {
        ModelFile::Safetensors { .. } => Model::from_safetensors_with(bytes, device, extensions),
        ModelFile::Torchscript { path, view, classes, activation, label_names } => {
            let heads = (*classes, *activation);
            Model::from_activated(path, view.clone(), heads, label_names.clone(), device)
        }
    });
    let model = models.collect::<Result<Vec<_>, _>>().and_then(Model::ensemble);
    model.and_then(|model| model.with_thresholds(&infer.thresholds)).map_err(network)
}

pub(super) fn load_detector(
    context: &Context,
    device: Device,
    infer: &Infer,
    digests: &[Digest],
) -> Result<Detector, Reject> {
    let one =
        |found: usize| Reject::new("NETWORK", format!("one detector expected, {found} models found"), "");
    match &infer.model {
        ModelSource::Stages(_) => {
            let [digest] = digests else { return Err(one(digests.len())) };
            Detector::from_safetensors(&context.artifact(*digest)?, device).map_err(network)
        }
        ModelSource::Files(files) => {
            let contents = unchanged(files, ModelSource::content(digests))?;
            let [bytes] = &contents[..] else { return Err(one(contents.len())) };
            Detector::from_safetensors(bytes, device).map_err(network)
        }
    }
}
