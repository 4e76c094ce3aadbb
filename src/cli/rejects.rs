//! `tomoflow rejects`: what was refused or left out, in clear, with the files to look at.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use super::PipelineArgs;
use crate::engine::{self, Rejected};
use crate::operators::registry::Registry;
use tomoflow_connectors::shown::{Shown as _, visible};

/// Arguments of `rejects`.
#[derive(Args, Debug)]
pub struct RejectsArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The codes whose rows are shown, for example `MISSING_SLICE`; when they are left out, all rows are
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Print a JSON object for each row, on a line of its own
    #[arg(long)]
    json: bool,
}

/// Runs the command: 0, or 1 when a code was asked for that no row has.
pub fn run(args: &RejectsArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let rows = match engine::rejects(plan) {
        Ok(rows) => rows,
        Err(error) => return super::run::fail(&error),
    };
    let asked = |row: &&Rejected| args.codes.is_empty() || args.codes.contains(&row.code);
    let found: Vec<&Rejected> = rows.iter().filter(asked).collect();
    let text: String = if args.json {
        found.iter().map(|row| serde_json::to_string(row).unwrap_or_default() + "\n").collect()
    } else {
        found.iter().map(|row| in_words(row)).collect()
    };
    super::print(visible(text));
    if !args.json && found.is_empty() {
        note!("{}", none(&args.codes, &rows));
    }
    ExitCode::from(u8::from(found.is_empty() && !args.codes.is_empty()))
}

/// A row as lines.
pub(super) fn in_words(row: &Rejected) -> String {
    let mut text = row.code.clone();
    if !row.case.is_empty() {
        text += &format!(" {}", row.case);
    }
    if row.shown != row.case {
        text += &format!(" (in tables {})", row.shown);
    }
    text += &format!(": {}\n", row.message);
    let told = if row.attempts == 0 { "; nothing was refused" } else { "" };
    text += &format!("  stage {}{told}\n", row.stage);
    if !row.hint.is_empty() {
        text += &format!("  hint: {}\n", row.hint);
    }
    if let Some(folder) = &row.folder {
        let plural = if row.of_files == 1 { "file" } else { "files" };
        text += &format!("  {} {plural} in {}\n", row.of_files, folder.shown());
        for file in row.files.iter().take(3) {
            text += &format!("    {}\n", file.strip_prefix(folder).unwrap_or(file).shown());
        }
        if row.of_files > 3 {
            text += "    …\n";
        }
    }
    text
}

/// Returns why nothing is shown.
fn none(codes: &[String], rows: &[Rejected]) -> String {
    if codes.is_empty() || rows.is_empty() {
        return "nothing was refused or left out".to_owned();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(&row.code).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(code, count)| format!("{code} ({count})")).collect();
    format!("no row has the code {}\nhint: there are {}", codes.join(" or "), counts.join(", "))
}
