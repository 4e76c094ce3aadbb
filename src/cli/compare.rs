//! `tomoflow compare`: the systems of a pipeline beside each other on the same cases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::PipelineArgs;
use crate::operators::registry::{Registry, Stage};
use crate::pipeline::{Plan, Swept};
use crate::report::{Comparison, Question, ReportError, System};

/// Arguments of `compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// A system to compare: a name, and its stages of type `evaluate`, over which the figures of each case are
    /// averaged, for example `--system attention=scores_1,scores_2`; given once for each system. When it is left out,
    /// each combination of `[sweep]` is a system, or, without a sweep, each stage of type `evaluate`
    #[arg(long, value_name = "NAME=STAGE,…", value_parser = system)]
    system: Vec<System>,
    /// The name of the system that the others are compared with; when it is left out, the first one
    #[arg(long, value_name = "NAME")]
    against: Option<String>,
    /// The part of the split whose cases are compared, or `all` for every case
    #[arg(long, default_value = "test")]
    split: String,
    /// Write the comparison as an HTML page as well
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

/// Reads `attention=scores_1,scores_2`.
fn system(text: &str) -> Result<System, String> {
    let parts = text.split_once('=').map(|(name, stages)| {
        let stages = stages.split(',').map(str::trim).filter(|stage| !stage.is_empty());
        System { name: name.trim().to_owned(), stages: stages.map(str::to_owned).collect() }
    });
    parts
        .filter(|system| !system.name.is_empty() && !system.stages.is_empty())
        .ok_or_else(|| "a name and stages expected, e.g. attention=scores_1,scores_2".to_owned())
}

/// Runs the command: 0; 1 where a system has no figures; 74 for tables that cannot be read and a page that cannot
/// be written.
pub fn run(args: &CompareArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let question = Question {
        systems: if args.system.is_empty() { swept(&plan) } else { args.system.clone() },
        against: args.against.clone(),
        split: if args.split == "all" { String::new() } else { args.split.clone() },
    };
    if let Some(line) = over_sources(&plan, &question) {
        note!("{line}");
    }
    let compared = Comparison::read(&plan.settings.out.join("tables"), &question).and_then(|comparison| {
        if let Some(path) = &args.output {
            comparison.write(path, &plan.settings.name)?;
        }
        Ok(comparison)
    });
    match compared {
        Ok(comparison) => super::show(&comparison, args.json),
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(if matches!(error, ReportError::System { .. }) { 1 } else { 74 })
        }
    }
}

/// Returns what is said where the systems judge scans of several sources: cases are paired by their names
/// alone.
fn over_sources(plan: &Plan, question: &Question) -> Option<String> {
    let asked = |name: &str| {
        let mut stages = question.systems.iter().flat_map(|system| &system.stages);
        question.systems.is_empty() || stages.any(|stage| stage == name)
    };
    let scores = plan.stages.iter().enumerate().filter(|(_, stage)| {
        matches!(stage.stage, Stage::Evaluate(_) | Stage::EvaluateBoxes(_)) && asked(&stage.name)
    });
    let mut by_source: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (place, stage) in scores {
        by_source.entry(plan.origin(place)).or_default().push(format!("`{}`", stage.name));
    }
    let source = |(origin, stages): (&usize, &Vec<String>)| {
        format!("{} those of `{}`", stages.join(" and "), plan.stages[*origin].name)
    };
    let told: Vec<String> = by_source.iter().map(source).collect();
    (told.len() > 1).then(|| {
        format!(
            "warning: the systems judge scans of several sources, {}: cases of one name are paired, whoever they are\n\
             hint: where these are scans of different patients, compare by `--system` those of one source",
            told.join(", ")
        )
    })
}

/// The combinations of `[sweep]`; none where there is none.
fn swept(plan: &Plan) -> Vec<System> {
    let several = plan.swept.iter().any(|one| plan.swept.iter().any(|other| other.of != one.of));
    let name = |swept: &Swept| match several {
        true => format!("{}: {}", swept.of, swept.system),
        false => swept.system.clone(),
    };
    plan.swept.iter().map(|swept| System { name: name(swept), stages: swept.stages.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_a_name_and_stages() {
        let found = system("attention = a, b,").unwrap();
        assert_eq!((found.name.as_str(), found.stages), ("attention", vec!["a".to_owned(), "b".to_owned()]));
        assert!(system("attention").is_err() && system("=a").is_err() && system("a=,").is_err());
    }
}
