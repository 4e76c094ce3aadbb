//! Trainings begin with weights of networks that have tensors of the same names.

use tomoflow_connectors::reading;

use super::declare::Declaration;
use super::problem::Found;
use super::suggest::listed;
use super::wiring::Wiring;
use crate::networks::{NetworkError, named_in, tensor_names};
use crate::operators::models::train::Train;
use crate::operators::registry::{Registry, Stage};

/// Reports trainings that could take nothing of the stage that they begin with, and frozen names that no tensor has.
/// Shapes follow from the data: what of them differs a run tells.
pub(super) fn alike(
    declaration: &Declaration,
    wiring: &Wiring,
    built: &[Option<Stage>],
    registry: &Registry,
    look: bool,
    found: &mut Vec<Found>,
) {
    // As many channels and classes as the least that there can be: no name depends on them.
    let names = |train: &Train| {
        let network = train.settings.network.resolve(1, 2).ok()?;
        tensor_names(&network, registry.extensions()).ok()
    };
    for (index, stage) in declaration.stages.iter().enumerate() {
        let Some(Stage::Train(train)) = &built[index] else { continue };
        if train.start.is_none() {
            continue;
        }
        let Some(own) = names(train) else { continue };
        let span = |field: &str| stage.table.key_at(field).map_or(stage.header, |key| key.span);
        let unmet = |prefix: &&String| !own.iter().any(|name| name.starts_with(prefix.as_str()));
        if let Some(prefix) = train.settings.freeze.iter().find(unmet) {
            let message = format!("no tensor of the network has a name that begins with `{prefix}`");
            let hint = format!("they begin with {}", listed(&beginnings(&own), "or"));
            found.push(Found::new(span("freeze"), message).hint(hint));
        }
        if look && let Some((message, hint)) = of_file(train, &own) {
            found.push(Found::new(span("start"), message).hint(hint).warning());
        }
        let named = stage.references.iter().zip(&wiring.references[index]);
        let start = named.filter(|(reference, _)| reference.field == "start").find_map(|(_, from)| *from);
        let Some((start, Some(Stage::Train(other)))) = start.map(|start| (start, &built[start])) else {
            continue;
        };
        let Some(others) = names(other) else { continue };
        if !own.iter().any(|name| others.contains(name)) {
            let name = declaration.stages[start].name;
            let message =
                format!("no tensor of the network of `{name}` has the name of one of this network's");
            let hint = format!(
                "its tensors begin with {}, this one's with {}: give both the same architecture",
                listed(&beginnings(&others), "and"),
                listed(&beginnings(&own), "and")
            );
            found.push(Found::new(span("start"), message).hint(hint));
        }
    }
}

/// Why nothing of a file could be taken; it may be another one on the machine that runs the pipeline, and one that is not
/// there is told of by itself.
fn of_file(train: &Train, own: &[String]) -> Option<(String, String)> {
    let (file, names) = (train.start_files().first()?, &train.start.as_ref()?.names);
    let name = format!("`{}`", file.path().file_name()?.to_string_lossy());
    let (bytes, _) = reading::open(file.path()).ok()?;
    match named_in(bytes, &name, names) {
        Err(NetworkError::File { message, hint, .. }) => Some((format!("{name}: {message}"), hint)),
        Ok(found) if !found.iter().any(|name| own.contains(name)) => {
            let message = format!("no tensor of {name} has the name of one of the network's");
            let hint = format!(
                "its names begin with {}, the network's with {}: see `names`",
                listed(&beginnings(&found), "and"),
                listed(&beginnings(own), "and")
            );
            Some((message, hint))
        }
        _ => None,
    }
}

/// What names begin with, up to the first dot.
fn beginnings(names: &[String]) -> Vec<String> {
    let mut first: Vec<String> =
        names.iter().map(|name| format!("`{}.`", name.split('.').next().unwrap_or_default())).collect();
    first.sort();
    first.dedup();
    // A file of somebody else may have any.
    first.truncate(8);
    first
}
