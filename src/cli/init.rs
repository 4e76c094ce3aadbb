//! `tomoflow init`: a folder to a first pipeline.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tomoflow_connectors::dicom::inspect::{InspectError, InspectEvent};
use tomoflow_connectors::shown::{Shown as _, visible};

use super::progress::Counter;
use crate::init::{Draft, InitError, Survey, Wishes, draft};
use crate::networks;
use crate::operators::registry::Registry;
use crate::pipeline::{self, Problems};

/// Files of an archive are mostly waited for: on a network file system more at once pay.
const MIN_THREADS: usize = 8;
/// Memory that a network is made for, in GB: nnU-Net's on a GPU, and little where a processor trains.
const GIGABYTES: [f64; 2] = [1.0, 8.0];

/// The command line of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder, `.zip` or `.tar` that holds the scans
    path: PathBuf,
    /// The pipeline file that is written, which must not exist yet. When it is left out, or `-`, the pipeline is
    /// printed, with paths relative to the current folder
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the pipeline file if it exists
    #[arg(long)]
    force: bool,
    /// The memory of the device that trains, in GB, from which the sizes of windows and batches follow; when it is left
    /// out, 8 with a GPU, as in nnU-Net, and 1 without
    #[arg(long, value_name = "GB")]
    gpu_memory: Option<f64>,
}

/// The reasons why no pipeline was written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("a pipeline file is there already: {}\nhint: `--force` replaces it, `--out FILE` writes another one", .0.display())]
    There(PathBuf),
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("a folder to look into expected, none found: {}\nhint: {}", .0.display(), .1)]
    Absent(PathBuf, String),
    #[error("memory above 0 GB expected, {0} found\nhint: `--gpu-memory 8` is what nnU-Net plans for")]
    Memory(f64),
    #[error(
        "the pipeline that was made has problems\n{0}hint: this is a fault of tomoflow, please report it with the lines above"
    )]
    Unsound(Problems),
    #[error("no threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Runs the command: 0, 2 for a bad option or a file that is there, 65 when the folder holds nothing to make a pipeline
/// of, 66 when it is not there, 70 for a fault, 74 when the file cannot be written.
pub fn run(args: &InitArgs, registry: &Registry) -> ExitCode {
    match make(args, registry) {
        Ok((draft, file)) => {
            tell(&draft, args, file.as_deref());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            note!("error: {}", visible(failure.to_string()));
            ExitCode::from(match failure {
                Failure::There(_) | Failure::Memory(_) => 2,
                Failure::Absent(..) | Failure::Init(InitError::Inspect(InspectError::Walk(_))) => 66,
                Failure::Unsound(_) | Failure::Threads(_) | Failure::Init(InitError::Inspect(_)) => 70,
                Failure::Write { .. } => 74,
                Failure::Init(_) => 65,
            })
        }
    }
}

fn make(args: &InitArgs, registry: &Registry) -> Result<(Draft, Option<PathBuf>), Failure> {
    if let Some(wrong) = args.gpu_memory.filter(|memory| !memory.is_finite() || *memory <= 0.0) {
        return Err(Failure::Memory(wrong));
    }
    if !args.path.exists() {
        let hint = "check the path, or whether the archive is mounted".to_owned();
        return Err(Failure::Absent(args.path.clone(), hint));
    }
    let name = name(&args.path);
    let printed = args.out.as_deref().is_none_or(|out| out == Path::new("-"));
    let file = args.out.clone().filter(|_| !printed).unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    if !printed && !args.force && file.exists() {
        return Err(Failure::There(file));
    }
    let wishes = wishes(args, &file, name)?;
    // Whatever folder this was started in, paths have one beginning.
    let survey = survey(&args.path.canonicalize().unwrap_or_else(|_| args.path.clone()))?;
    let draft = draft(&survey, &wishes, registry)?;
    let shown = file.display().to_string();
    pipeline::parse(&shown, &draft.text, &wishes.base, &[], registry).map_err(Failure::Unsound)?;
    if printed {
        super::print(&draft.text);
        return Ok((draft, None));
    }
    write_whole(&file, &draft.text).map_err(|error| Failure::Write { path: file.clone(), error })?;
    Ok((draft, Some(file)))
}

/// Writes a file whole or not at all: beside it first, unless it is a link or a device.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    if std::fs::symlink_metadata(file).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(file, text);
    }
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or(file.as_os_str()));
    name.push(format!(".part-{}", std::process::id()));
    let part = file.with_file_name(name);
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn survey(path: &Path) -> Result<Survey, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores.max(MIN_THREADS)).build()?;
    let counter = Counter::new(true);
    let mut show = |event: &InspectEvent| match event {
        InspectEvent::Read { done, of } => counter.show("files read", *done, *of),
        InspectEvent::Judged { done, of } => counter.show("series judged", *done, *of),
        InspectEvent::Found(_) => {}
    };
    let found = pool.install(|| Survey::of(path, &mut show));
    counter.end();
    Ok(found.map_err(InitError::from)?)
}

/// The pipeline's name: that of the folder, in letters that files and tables stand.
fn name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name =
        ["zip", "tar"].iter().find_map(|ending| name.strip_suffix(&format!(".{ending}"))).unwrap_or(&name);
    let letter =
        |letter: char| if letter.is_alphanumeric() || letter == '_' || letter == '-' { letter } else { '-' };
    let name: String = name.chars().map(letter).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "archive".to_owned() } else { name.to_owned() }
}

fn wishes(args: &InitArgs, file: &Path, name: String) -> Result<Wishes, Failure> {
    let written = |error| Failure::Write { path: file.to_owned(), error };
    let file_whole = std::path::absolute(file).map_err(written)?;
    let base = file_whole.parent().unwrap_or(&file_whole).to_owned();
    let base = base.canonicalize().unwrap_or(base);
    let whole =
        args.path.canonicalize().map_err(|error| Failure::Write { path: args.path.clone(), error })?;
    let path = relative(&whole, &base).unwrap_or(whole.clone());
    // Results never lie in what is read.
    let out = base.join("results").join(&name);
    let out = match out.starts_with(&whole) || whole == base {
        true => whole.parent().unwrap_or(&whole).join(format!("{name}-results")),
        false => out,
    };
    let out = relative(&out, &base).unwrap_or(out);
    let gpu = networks::device("auto").is_ok_and(networks::Device::is_gpu);
    Ok(Wishes {
        name,
        path: path.display().to_string(),
        out: out.display().to_string(),
        base,
        gigabytes: args.gpu_memory.unwrap_or(GIGABYTES[usize::from(gpu)]),
        gpu: gpu || args.gpu_memory.is_some(),
    })
}

/// A path from a folder, where both have something in common but the root.
fn relative(path: &Path, base: &Path) -> Option<PathBuf> {
    let (mut of_path, mut of_base) = (path.components().peekable(), base.components().peekable());
    let mut common = 0;
    while let (Some(a), Some(b)) = (of_path.peek(), of_base.peek()) {
        if a != b {
            break;
        }
        common += 1;
        of_path.next();
        of_base.next();
    }
    let up = of_base.count();
    if common < 2 || up > 2 {
        return None;
    }
    let way = std::iter::repeat_n(Component::ParentDir, up).chain(of_path);
    let way: PathBuf = way.collect();
    Some(if way.as_os_str().is_empty() { PathBuf::from(".") } else { way })
}

/// Says what was found and what was not, and how to go on.
fn tell(draft: &Draft, args: &InitArgs, file: Option<&Path>) {
    let text = said(draft, &args.path);
    match file {
        Some(file) => {
            let file = file.shown();
            super::print(format_args!("{text}{file} is written. Next:\n  tomoflow run {file}\n"));
        }
        // The pipeline itself is on standard output.
        None => note!("{}", text.trim_end()),
    }
}

/// Returns what was found, in lines of which no name of a file or of a label makes others.
fn said(draft: &Draft, path: &Path) -> String {
    let line = |line: &str| visible(line.replace(['\n', '\r'], " "));
    let mut text = format!("{}: {}\n", path.shown(), line(&draft.found.join("; ")));
    for told in &draft.told {
        text.push_str(&format!("note: {}\n", line(told)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_said_act_on_no_terminal() {
        let lines = ["liver \u{1b}]0;x\u{7}".to_owned(), "a\nnote: forged".to_owned()];
        let draft = Draft { found: lines.to_vec(), told: lines.to_vec(), ..Draft::default() };
        let text = said(&draft, Path::new("a\u{1b}[2Jb"));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        assert_eq!(text.lines().count(), 3, "{text:?}");
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.toml");
        write_whole(&file, "one").unwrap();
        write_whole(&file, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        // A folder in its place: nothing is left beside it.
        std::fs::create_dir(folder.path().join("q.toml")).unwrap();
        assert!(write_whole(&folder.path().join("q.toml"), "three").is_err());
        assert!(write_whole(&folder.path().join("none/p.toml"), "three").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_path_is_written_from_the_pipeline_file() {
        let way = |path: &str, base: &str| relative(Path::new(path), Path::new(base));
        assert_eq!(way("/data/a/set", "/data/a"), Some("set".into()));
        assert_eq!(way("/data/a/set", "/data/a/set"), Some(".".into()));
        assert_eq!(way("/data/a/set", "/data/a/x/y"), Some("../../set".into()));
        assert_eq!(way("/data/set", "/home/ada"), None);
        assert_eq!(way("/data/set", "/data/a/b/c"), None);
    }

    #[test]
    fn a_name_has_letters_that_files_stand() {
        assert_eq!(name(Path::new("/nowhere/Task 04.Hippo")), "Task-04-Hippo");
        assert_eq!(name(Path::new("/nowhere/x.zip")), "x");
        assert_eq!(name(Path::new("/")), "archive");
    }
}
