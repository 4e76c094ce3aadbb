//! Where a pipeline's paths lead on this machine: what is not there, and outputs that lie where sources are read.
//! Places are compared as they truly are, whatever `..` and links their paths go through.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tomoflow_connectors::reading;

use super::declare::Declared;
use super::plan::Plan;
use super::problem::{Found, Span};
use super::tree::{Table, Value};
use crate::networks;
use crate::operators::models::origin::ModelFile;
use crate::operators::registry::Stage;
use crate::operators::source::LabelsIn;
use tomoflow_connectors::shown::Shown as _;

/// A path without links, `.` and `..`; of what is not there yet, the part that is there is looked up.
pub fn resolved(path: &Path) -> PathBuf {
    let (mut at, mut absent): (&Path, Vec<&OsStr>) = (path, Vec::new());
    loop {
        if let Ok(mut real) = at.canonicalize() {
            for part in absent.into_iter().rev() {
                if part == ".." {
                    real.pop();
                } else {
                    real.push(part);
                }
            }
            return real;
        }
        let (Some(parent), Some(last)) = (at.parent(), at.components().next_back()) else {
            return path.to_owned();
        };
        absent.push(last.as_os_str());
        at = parent;
    }
}

impl Plan {
    /// Where this pipeline writes, without links: nothing of it is an input.
    pub fn own_places(&self) -> Vec<PathBuf> {
        let sinks = self.stages.iter().filter_map(|stage| match &stage.stage {
            Stage::Files(files) => Some(&files.path),
            _ => None,
        });
        std::iter::once(&self.settings.out).chain(sinks).map(|path| resolved(path)).collect()
    }

    /// What its sources read, by their names, without links.
    pub fn read_places(&self) -> Vec<(String, PathBuf)> {
        let read =
            |stage: &super::plan::PlannedStage| Some((stage.name.clone(), resolved(read_by(&stage.stage)?)));
        self.stages.iter().filter_map(read).collect()
    }

    /// What lies below a source's folder and is written by this pipeline, named as the source names its files.
    pub fn own_below(&self, root: &Path) -> Vec<PathBuf> {
        let real = resolved(root);
        let own = self.own_places().into_iter();
        let below = own.filter_map(|own| own.strip_prefix(&real).ok().map(Path::to_owned));
        below.filter(|below| !below.as_os_str().is_empty()).map(|below| root.join(below)).collect()
    }
}

/// The folder or file that a stage reads.
fn read_by(stage: &Stage) -> Option<&Path> {
    match stage {
        Stage::Instances(source) => Some(source.root()),
        Stage::Scans(source) => Some(source.root()),
        Stage::Labels(source) => match source.lies_in() {
            LabelsIn::Objects { root, .. } => Some(root),
            LabelsIn::Files(files) => Some(files.root()),
            LabelsIn::Series { instances, .. } => Some(instances.root()),
            // It was read when the stage was built.
            LabelsIn::Table(_) => None,
        },
        _ => None,
    }
}

/// A path of a stage: what it is to the stage, and where it leads.
struct At<'a> {
    name: &'a str,
    span: Span,
    real: PathBuf,
}

/// Looks at what is on disk.
pub(super) fn check(
    root: &Table,
    stages: &[Declared],
    built: &[Option<Stage>],
    out: Option<&Path>,
    found: &mut Vec<Found>,
) {
    let mut sources = Vec::new();
    let mut sinks: Vec<At> = Vec::new();
    for (stage, built) in stages.iter().zip(built) {
        let Some(built) = built else { continue };
        let span = |field: &str| stage.table.get(field).map_or(stage.header, |(_, node)| node.span);
        if let Some(path) = read_by(built) {
            found.extend(absent(path, span("path"), &format!("the path of the source `{}`", stage.name)));
            sources.push(At { name: stage.name, span: span("path"), real: resolved(path) });
        }
        if let Stage::Infer(infer) = built {
            for file in infer.model.files() {
                found.extend(absent(file.path(), span("model"), &format!("a model of `{}`", stage.name)));
            }
            found.extend(program(infer.model.files(), span("model")));
        }
        if let Stage::Train(train) = built {
            for file in train.start_files() {
                found.extend(absent(
                    file.path(),
                    span("start"),
                    &format!("the file of weights for `{}`", stage.name),
                ));
            }
        }
        if let Stage::Files(files) = built {
            sinks.push(At { name: stage.name, span: span("path"), real: resolved(&files.path) });
        }
    }
    let settings = root.get("pipeline").and_then(|(_, node)| match &node.value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    let span = |field: &str| settings.and_then(|table| table.get(field)).map(|(_, node)| node.span);
    if let (Some(out), Some(span)) = (out, span("out")) {
        results(&At { name: "out", span, real: resolved(out) }, &sources, found);
    }
    if let Some((Value::Text(device), span)) =
        settings.and_then(|table| table.get("device")).map(|(_, node)| (&node.value, node.span))
        && device.starts_with("cuda")
        && let Err(error) = networks::device(device)
    {
        let problem = Found::new(span, format!("the device `{device}` is not there: {error}"));
        found.push(
            problem.hint("a run on this machine would end at once; `auto` takes what is there").warning(),
        );
    }
    masks(&sinks, &sources, found);
}

/// What cannot be read. It may be there on the machine that runs the pipeline.
fn absent(path: &Path, span: Span, what: &str) -> Option<Found> {
    let looked = fs::metadata(path).and_then(|metadata| match metadata.is_dir() {
        true => fs::read_dir(path).map(drop),
        false => reading::open(path).map(drop),
    });
    let error = looked.err()?;
    let path = path.shown();
    let (message, label) = match error.kind() {
        io::ErrorKind::NotFound => (format!("{what} is not there: {path}"), "nothing is there".to_owned()),
        _ => (format!("{what} cannot be read: {path}"), error.to_string()),
    };
    let hint = "paths are relative to the pipeline file; a run on this machine would end at once";
    Some(Found::new(span, message).label(label).hint(hint).warning())
}

/// A TorchScript file is a program, which may do more than compute.
fn program(files: &[ModelFile], span: Span) -> Option<Found> {
    let is_program = |file: &&ModelFile| matches!(file, ModelFile::Torchscript { .. });
    let path = files.iter().find(is_program)?.path().shown();
    let message = format!(
        "the TorchScript file {path} is a program: it may read and write files that you may read and write"
    );
    let hint = "run those of people whom you trust; a `safetensors` file holds numbers alone";
    Some(Found::new(span, message).label("runs as saved").hint(hint).warning())
}

/// What `out` holds of the program's own.
const OWN: [&str; 3] = ["store", "tables", "tensorboard"];

/// Results within a source are no input; a source among results cannot be told from them.
fn results(out: &At, sources: &[At], found: &mut Vec<Found>) {
    for source in sources {
        let among = |own: &&str| source.real.starts_with(out.real.join(own));
        let name = source.name;
        let problem = if source.real == out.real || OWN.iter().any(among) {
            let message = format!("`out` holds the source `{name}`: files could not be told from results");
            let hint = "give results a folder of their own, for example \"results\"";
            Found::new(out.span, message).label("a source's folder").hint(hint)
        } else if out.real.starts_with(&source.real) {
            let message =
                format!("`out` lies inside the source `{name}`: results are written into the archive");
            let hint = "what lies in `out` is no input; a folder beside the archive leaves it as it is";
            Found::new(out.span, message).label("inside a source").hint(hint).warning()
        } else {
            continue;
        };
        found.push(problem);
        return;
    }
}

/// What a sink writes is no input, and each sink has a folder of its own.
fn masks(sinks: &[At], sources: &[At], found: &mut Vec<Found>) {
    for (place, sink) in sinks.iter().enumerate() {
        if let Some(other) = sinks[..place].iter().find(|other| other.real == sink.real) {
            let message = format!("the sinks `{}` and `{}` write into one folder", other.name, sink.name);
            let hint = "give each a folder of its own, or one sink several `inputs`";
            found.push(Found::new(sink.span, message).label("the same folder").hint(hint));
        }
        let same = sources.iter().find(|source| source.real == sink.real);
        let above = sources.iter().find(|source| sink.real.starts_with(&source.real));
        if let Some(source) = same {
            let message = format!(
                "the sink `{}` writes into the folder that the source `{}` reads",
                sink.name, source.name
            );
            let hint = "masks could not be told from inputs, or would replace them: give the sink a folder of its own";
            found.push(Found::new(sink.span, message).label("a source's folder").hint(hint));
        } else if let Some(source) = above {
            let message = format!("the sink `{}` writes inside the source `{}`", sink.name, source.name);
            let hint = "what lies in the sink's folder is no input";
            found.push(Found::new(sink.span, message).label("inside a source").hint(hint).warning());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_without_links_and_detours() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        fs::create_dir_all(real.join("a/b")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("link")).unwrap();
        assert_eq!(resolved(&folder.path().join("link/../a/./b")), real.join("a/b"));
        assert_eq!(resolved(&folder.path().join("link/new/deep")), real.join("a/new/deep"));
        assert_eq!(resolved(&folder.path().join("a/new/../other")), real.join("a/other"));
        assert_eq!(resolved(Path::new("/not-there/x")), Path::new("/not-there/x"));
    }
}
