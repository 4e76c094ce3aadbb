//! What a run came to: counts for people, programs and the exit code.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::comings::Moved;
use super::scored::{Scored, lines};

/// The characters of a message that the end of a run shows.
const MESSAGE: usize = 160;

/// One stage's actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StageCount {
    /// The stage's place in the plan.
    #[serde(skip)]
    pub order: usize,
    /// The number of actions wanted now.
    pub wanted: usize,
    /// The number of actions found done in the cache.
    pub cached: usize,
    /// The number of actions run now, with a result.
    pub run: usize,
    /// The number of actions run now or before, without a result.
    pub failed: usize,
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The pipeline.
    pub pipeline: String,
    /// Series looked at: accepted and rejected.
    pub cases: usize,
    /// Accepted series for which something ran.
    pub processed: usize,
    /// Accepted series for which nothing had to run.
    pub unchanged: usize,
    /// Cases with at least one row in `rejects`.
    pub rejected: usize,
    /// Series that were accepted.
    pub accepted: usize,
    /// Models trained in this run.
    pub trained: usize,
    /// Trainings that gave no model.
    pub trainings_failed: usize,
    /// The number of actions that ran.
    pub actions_run: usize,
    /// The number of actions found done.
    pub actions_cached: usize,
    /// The counts of actions, by stage.
    pub stages: BTreeMap<String, StageCount>,
    /// Rejected cases by code.
    pub rejects: BTreeMap<String, usize>,
    /// What one row of `rejects` says, by code; nothing where messages are left out of tables.
    pub messages: BTreeMap<String, String>,
    /// What rows of `rejects` tell of cases that were not refused, by code.
    pub remarked: BTreeMap<String, usize>,
    /// The figures that the pipeline asks for, as rows of `summary` in short.
    pub scores: Vec<Scored>,
    /// Cases that came, went and changed since this was told the last time; nothing at the end of a run that looks once.
    #[serde(skip_serializing_if = "Moved::is_empty")]
    pub moved: Moved,
    /// The number of files looked at.
    pub files: usize,
    /// Files read, since they were new or changed.
    pub files_read: usize,
    /// Files that hold nothing for a pipeline, by code.
    pub skipped: BTreeMap<String, usize>,
    /// Tables with a new version, `runs` not counted.
    pub tables_changed: Vec<String>,
    /// What a user should know of a stage: a model kept although cases came, or one that cannot be trained.
    pub notes: Vec<String>,
    /// Sources whose `where` left out all that is there, with the values that are.
    pub left_out: Vec<String>,
    /// Labels that belong to no scan, and what sources ask for and is not there, by source.
    pub unmatched: Vec<String>,
    /// What was left out below the sources, could not be read, or was kept although it is gone.
    pub told: Vec<String>,
    /// Folders that held cases at the last run and hold none now: what was known of them was kept.
    pub emptied: usize,
    /// The time of the whole run, in seconds.
    pub seconds: f64,
    /// Folders of mask files that changed.
    pub folders_changed: Vec<String>,
    /// Files of masks that could not be written; the log says why.
    pub unwritten: usize,
    /// The folder of the tables.
    pub tables: PathBuf,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

impl Summary {
    /// The counts of cases, in one line.
    pub fn line(&self) -> String {
        let plural = if self.cases == 1 { "case" } else { "cases" };
        format!(
            "{} {plural}: {} processed, {} unchanged, {} rejected ({:.1} s)",
            self.cases, self.processed, self.unchanged, self.rejected, self.seconds
        )
    }

    /// The message of one reject of a code, short.
    fn said(&self, code: &str) -> String {
        let Some(message) = self.messages.get(code) else { return String::new() };
        let line = message.lines().next().unwrap_or_default();
        let short: String = line.chars().take(MESSAGE).collect();
        let more = if short.len() < message.len() { " …" } else { "" };
        format!(", for example: {short}{more}")
    }

    /// Returns the exit code: 0 done; 1 a training failed, or more rejects than `allowed` (a share, 0 to 1);
    /// 65 nothing could be used, or a folder below a source is suddenly empty; 74 a file of a mask could not
    /// be written; 130 interrupted.
    pub fn exit_code(&self, allowed: f64) -> u8 {
        if self.interrupted {
            130
        } else if self.accepted == 0 {
            65
        } else if self.trainings_failed > 0 || self.rejected as f64 > allowed * self.cases as f64 {
            1
        } else if self.emptied > 0 {
            65
        } else if self.unwritten > 0 {
            74
        } else {
            0
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line())?;
        let mut stages: Vec<_> = self.stages.iter().filter(|(_, count)| count.wanted > 0).collect();
        stages.sort_by_key(|(_, count)| count.order);
        for (name, count) in stages {
            write!(f, "  {name}: {} run, {} unchanged", count.run, count.cached)?;
            if count.failed > 0 {
                write!(f, ", {} failed", count.failed)?;
            }
            writeln!(f)?;
        }
        for (code, count) in &self.rejects {
            writeln!(f, "  rejected {code}: {count}{}", self.said(code))?;
        }
        for (code, count) in &self.remarked {
            writeln!(f, "  told {code}: {count} (in `rejects`; nothing was refused){}", self.said(code))?;
        }
        for note in self.left_out.iter().chain(&self.unmatched).chain(&self.notes).chain(&self.told) {
            writeln!(f, "  {note}")?;
        }
        if !self.skipped.is_empty() {
            let skipped = self.skipped.iter().map(|(code, count)| format!("{code} {count}"));
            let skipped = skipped.collect::<Vec<_>>().join(", ");
            writeln!(f, "  files below the sources that hold nothing for this pipeline: {skipped}")?;
        }
        for line in lines(&self.scores) {
            writeln!(f, "{line}")?;
        }
        for folder in &self.folders_changed {
            writeln!(f, "files: {folder} (changed)")?;
        }
        if self.unwritten > 0 {
            writeln!(f, "masks without a file: {} (the log says why)", self.unwritten)?;
        }
        match self.tables_changed.as_slice() {
            [] => writeln!(f, "tables: {} (nothing changed)", self.tables.display()),
            changed => writeln!(f, "tables: {} (new: {})", self.tables.display(), changed.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_honest() {
        let summary = |cases, accepted, rejected| Summary { cases, accepted, rejected, ..Summary::default() };
        assert_eq!(summary(4, 4, 0).exit_code(0.5), 0);
        assert_eq!(summary(4, 2, 2).exit_code(0.5), 0);
        assert_eq!(summary(4, 1, 3).exit_code(0.5), 1);
        assert_eq!(summary(4, 0, 4).exit_code(1.0), 65);
        assert_eq!(summary(0, 0, 0).exit_code(0.5), 65);
        assert_eq!(Summary { unwritten: 1, ..summary(4, 4, 0) }.exit_code(0.5), 74);
        assert_eq!(Summary { emptied: 1, ..summary(4, 4, 0) }.exit_code(0.5), 65);
        assert_eq!(Summary { interrupted: true, ..summary(4, 4, 0) }.exit_code(0.5), 130);
    }
}
