//! Who looks on while a network trains: the log, and TensorBoard's files where they are asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tomoflow_connectors::tensorboard::EventFile;

use crate::networks::{Figure, Observer, Timing};

/// Looks on while a network trains.
pub struct Watch<'a> {
    pub cancel: &'a AtomicBool,
    pub stage: &'a str,
    pub board: Option<Board>,
}

impl Observer for Watch<'_> {
    fn figure(&mut self, figure: &Figure) {
        let Figure { epoch, step, split, name, value } = figure;
        // Not a learning rate or a norm, nor each label: what a person waits for.
        let (what, part) = name.split_once('.').unwrap_or((name, ""));
        if !matches!(what, "learning_rate" | "gradient_norm") && (split == "train" || part.is_empty()) {
            tracing::info!(target: "tomoflow::training", "{}: epoch {epoch}, {split} {name} {value:.4}", self.stage);
        }
        if let Some(board) = &mut self.board {
            board.scalar(*step, &format!("{split}/{name}"), *value);
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn timing(&mut self, timing: &Timing) {
        let Timing { epoch, step, seconds, busy } = *timing;
        let percent = busy * 100.0;
        tracing::info!(
            target: "tomoflow::training",
            "{}: epoch {epoch}, {seconds:.1} s, the device had work in {percent:.0} % of them", self.stage
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
            let mut watch = Watch { cancel: &cancel, stage: "net", board: Some(Board::new(folder)) };
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
