//! How far a run is, by stage: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::{StageCount, Training, trainings};

/// Seconds between two plain lines, so that a log of a long run stays short.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// A run's progress on standard error.
pub struct Progress {
    terminal: bool,
    bars: MultiProgress,
    stages: BTreeMap<String, ProgressBar>,
    printed: Option<Instant>,
    last: String,
}

impl Progress {
    /// Bars when standard error is a terminal.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            bars: super::log::bars().clone(),
            stages: BTreeMap::new(),
            printed: None,
            last: String::new(),
        }
    }

    /// Shows where each stage stands.
    pub fn show(&mut self, stages: &BTreeMap<String, StageCount>) {
        if self.terminal {
            self.draw(stages);
        } else if self.printed.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) {
            self.print(stages);
        }
    }

    /// Takes the bars away.
    pub fn end(&mut self) {
        for bar in self.stages.values() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, stages: &BTreeMap<String, StageCount>) {
        let trainings = trainings();
        let mut ordered: Vec<_> = stages.iter().collect();
        ordered.sort_by_key(|(_, count)| count.order);
        for (name, count) in ordered {
            let bar = self.stages.entry(name.clone()).or_insert_with(|| {
                let bar = self.bars.add(ProgressBar::new(0));
                let style =
                    ProgressStyle::with_template("{prefix:>14} {bar:30} {pos}/{len} {elapsed} {wide_msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_prefix(name.clone());
                bar.enable_steady_tick(Duration::from_millis(250));
                bar
            });
            bar.set_length(count.wanted as u64);
            bar.set_position(done(count) as u64);
            let failed = (count.failed > 0).then(|| format!("{} failed", count.failed));
            let training = trainings.get(name).map(Training::line);
            let told: Vec<_> = failed.into_iter().chain(training).collect();
            bar.set_message(told.join(", "));
        }
    }

    fn print(&mut self, stages: &BTreeMap<String, StageCount>) {
        let mut ordered: Vec<_> = stages.iter().filter(|(_, count)| count.wanted > done(count)).collect();
        ordered.sort_by_key(|(_, count)| count.order);
        let parts: Vec<String> =
            ordered.iter().map(|(name, count)| format!("{name} {}/{}", done(count), count.wanted)).collect();
        let line = parts.join(", ");
        if !line.is_empty() && line != self.last {
            note!("{line}");
            self.printed = Some(Instant::now());
            self.last = line;
        }
    }
}

fn done(count: &StageCount) -> usize {
    count.cached + count.run + count.failed
}

/// A count on standard error while something is looked through; nothing where that is no terminal.
pub struct Counter {
    bar: Option<ProgressBar>,
}

impl Counter {
    /// Begins with nothing counted; nothing ever is unless `wanted`.
    pub fn new(wanted: bool) -> Self {
        let bar = || {
            let bar = super::log::bars().add(ProgressBar::new(0));
            let style = ProgressStyle::with_template("{msg:>14} {bar:30} {human_pos}/{human_len} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        };
        Self { bar: (wanted && std::io::stderr().is_terminal()).then(bar) }
    }

    /// Shows how many of how many are done.
    pub fn show(&self, what: &'static str, done: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    }

    /// Takes the count away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
