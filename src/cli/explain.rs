//! `tomoflow explain`: how an output came to be, and what changed since the one before it.

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;

use super::PipelineArgs;
use crate::engine::{self, Before, ExplainError, Explained, Explanation, short};
use crate::operators::registry::Registry;
use tomoflow_connectors::shown::Shown as _;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// What is to be explained: the first digits of the digest of an action, a mask or a model; the name of a stage; a
    /// code of `rejects`; or the first characters of a case or series as tables show it
    #[arg(value_name = "KEY|SERIES")]
    subject: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command: 0, or 1 when nothing of this name is known.
pub fn run(args: &ExplainArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    match engine::explain(&plan, &args.subject) {
        Ok(explanation) => super::show(&explanation, args.json),
        Err(ExplainError::Run(error)) => super::run::fail(&error),
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(1)
        }
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, output) in self.outputs.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{output}")?;
        }
        if self.more > 0 {
            writeln!(f, "\nand {} more: ask for one case", self.more)?;
        }
        for reject in &self.rejects {
            write!(f, "{}", super::rejects::in_words(reject))?;
        }
        Ok(())
    }
}

impl Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.case.as_ref().map(|case| format!(" of {case}")).unwrap_or_default();
        writeln!(f, "{}{case}: {}", self.stage, self.outcome)?;
        writeln!(f, "  action {}, made {} in {:.1} s", self.action, date(self.at), self.seconds)?;
        for part in &self.operators {
            let settings: Vec<String> =
                part.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            writeln!(
                f,
                "  {} (`{}`, version {}) {}",
                part.stage,
                part.operator,
                part.version,
                settings.join(", ")
            )?;
        }
        let entered = [
            match self.channels.as_slice() {
                [] => self.slices.map(|slices| format!("scan of {slices} slices")),
                channels => Some(format!("channels {}", channels.join(", "))),
            },
            self.labels.as_ref().map(|labels| format!("labels {}", short(labels))),
            self.mask.as_ref().map(|mask| format!("mask {}", short(mask))),
            self.model.as_ref().map(|model| self.models(model)),
            (!self.trained_on.is_empty()).then(|| format!("{} cases", self.trained_on.len())),
        ];
        let entered: Vec<String> = entered.into_iter().flatten().collect();
        if !entered.is_empty() {
            writeln!(f, "  from {}", entered.join(", "))?;
        }
        match &self.before {
            Some(before) => write!(f, "{before}"),
            None => writeln!(f, "  the first one that stood here"),
        }
    }
}

impl Explained {
    /// Writes `model DIGEST`, and for an ensemble each of its models with its trainings.
    fn models(&self, model: &str) -> String {
        if self.ensemble.is_empty() {
            return format!("model {}", short(model));
        }
        let one = |model: &String| match model.rsplit_once(' ') {
            Some((stages, digest)) => format!("{stages} {}", short(digest)),
            None => short(model).to_owned(),
        };
        let models: Vec<String> = self.ensemble.iter().map(one).collect();
        format!("the ensemble {} of {}", short(model), models.join(", "))
    }
}

impl Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  before: action {}, since {}; changed since:", short(&self.action), date(self.since))?;
        if self.differences.is_empty() {
            writeln!(f, "    nothing that is recorded")?;
        }
        for difference in &self.differences {
            writeln!(f, "    {difference}")?;
        }
        for file in &self.files {
            writeln!(f, "    file {}", file.shown())?;
        }
        Ok(())
    }
}

fn date(seconds: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(at).to_string()
}
