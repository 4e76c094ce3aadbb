//! Who looks on while a network trains: the log, and TensorBoard's files where they are asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tomoflow_connectors::tensorboard::EventFile;

use super::trainings::UnderWay;
use crate::networks::{Figure, Loaded, Observer, Timing};

/// Looks on while a network trains.
pub struct Watch<'a> {
    cancel: &'a AtomicBool,
    stage: &'a str,
    board: Option<Board>,
    under_way: UnderWay,
    /// The figures of the epoch that is ending.
    figures: Vec<(String, f64)>,
}

impl<'a> Watch<'a> {
    /// Begins to look on: from now until it is dropped the training of this stage is under way.
    pub fn new(cancel: &'a AtomicBool, stage: &'a str, epochs: u64, board: Option<Board>) -> Self {
        Self { cancel, stage, board, under_way: UnderWay::new(stage, epochs), figures: Vec::new() }
    }
}

impl Observer for Watch<'_> {
    fn begun(&mut self, loaded: &Loaded) {
        match loaded.is_whole() {
            true => {
                tracing::info!(target: "tomoflow::training", "{}: begins with weights: {loaded}", self.stage)
            }
            false => {
                tracing::warn!(target: "tomoflow::training", "{}: begins with weights in part: {loaded}", self.stage);
            }
        }
    }

    fn figure(&mut self, figure: &Figure) {
        let Figure { step, split, name, value, .. } = figure;
        // The log shows what a person waits for: no learning rate or norm, nor each label.
        let (what, part) = name.split_once('.').unwrap_or((name, ""));
        if !matches!(what, "learning_rate" | "gradient_norm") && (split == "train" || part.is_empty()) {
            self.figures.push((format!("{split} {name}"), *value));
        }
        if let Some(board) = &mut self.board {
            board.scalar(*step, &format!("{split}/{name}"), *value);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn progress(&mut self, step: u64, steps: u64) {
        self.under_way.step(step, steps);
    }

    fn timing(&mut self, timing: &Timing) {
        let Timing { epoch, step, seconds, busy } = *timing;
        let standing = self.under_way.ended(epoch, std::mem::take(&mut self.figures));
        let left = standing.left().filter(|_| epoch < standing.epochs);
        tracing::info!(
            target: "tomoflow::training",
            "{}: epoch {epoch} of {}, {}, {seconds:.1} s (the device had work in {:.0} % of them){}",
            self.stage, standing.epochs, standing.told(), busy * 100.0,
            left.map(|left| format!(", {left}")).unwrap_or_default()
        );
        if let Some(board) = &mut self.board {
            board.scalar(step, "time/epoch_seconds", seconds);
            board.scalar(step, "time/device_busy", busy);
        }
    }
}

/// A folder of TensorBoard's. What cannot be written is said once, and left: no training ends for it.
pub struct Board {
    folder: PathBuf,
    file: Option<EventFile>,
    failed: bool,
}

impl Board {
    /// The folder is made with the first figure.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, failed: false }
    }

    fn scalar(&mut self, step: u64, tag: &str, value: f64) {
        if self.failed {
            return;
        }
        if let Err(error) = self.write(step, tag, value) {
            tracing::warn!(folder = %self.folder.display(), %error, "no figures for TensorBoard");
            self.failed = true;
        }
    }

    fn write(&mut self, step: u64, tag: &str, value: f64) -> std::io::Result<()> {
        let now = SystemTime::now();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(EventFile::begin(&self.folder, now, step)?),
        };
        file.scalar(now, step, tag, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_left_where_tensorboard_looks_and_a_bad_folder_stops_nobody() {
        let place = tempfile::tempdir().unwrap();
        let cancel = AtomicBool::new(false);
        let figure = Figure { step: 3, epoch: 1, split: "train".into(), name: "loss".into(), value: 0.5 };
        let files = |folder: &std::path::Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
        let watch = |folder: PathBuf| {
            let mut watch = Watch::new(&cancel, "net", 2, Some(Board::new(folder)));
            watch.figure(&figure);
            watch.timing(&Timing { epoch: 1, step: 3, seconds: 2.0, busy: 0.5 });
            watch.board.is_some_and(|board| board.failed)
        };
        let folder = place.path().join("tensorboard/net");
        assert!(!watch(folder.clone()));
        assert_eq!(files(&folder), 1);
        // Gone on with: a file of its own.
        assert!(!watch(folder.clone()));
        assert_eq!(files(&folder), 2);
        std::fs::write(place.path().join("file"), b"").unwrap();
        assert!(watch(place.path().join("file")));
    }
}
