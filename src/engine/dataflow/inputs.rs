//! What comes from outside: one input for each kind of row.

use std::sync::Arc;

use differential_dataflow::input::InputSession;
use tomoflow_connectors::Digest;

use super::Time;
use super::start::Begun;
use crate::engine::rows::{ImagesRow, Input, Remark};
use crate::executor::work::{OutlinesRow, Verdict};
use crate::pipeline::StageId;
use crate::store::Outcome;

/// The inputs of one worker.
pub struct Inputs {
    pub(super) series: InputSession<Time, (StageId, Verdict), isize>,
    pub(super) outlines: InputSession<Time, (StageId, Arc<OutlinesRow>), isize>,
    pub(super) images: InputSession<Time, (StageId, Arc<ImagesRow>), isize>,
    pub(super) outcomes: InputSession<Time, (Digest, Outcome), isize>,
    pub(super) pins: InputSession<Time, (StageId, Begun), isize>,
    pub(super) files: InputSession<Time, (StageId, Digest), isize>,
    pub(super) remarks: InputSession<Time, (StageId, Remark), isize>,
}

impl Inputs {
    /// Inputs that are not yet part of a dataflow.
    pub fn new() -> Self {
        Self {
            series: InputSession::new(),
            outlines: InputSession::new(),
            images: InputSession::new(),
            outcomes: InputSession::new(),
            pins: InputSession::new(),
            files: InputSession::new(),
            remarks: InputSession::new(),
        }
    }

    /// Adds (`1`) or takes back (`-1`) something known.
    pub fn update(&mut self, input: Input, diff: isize) {
        match input {
            Input::Series(stage, verdict) => self.series.update((stage, verdict), diff),
            Input::Outlines(stage, outlines) => self.outlines.update((stage, outlines), diff),
            Input::Images(stage, images) => self.images.update((stage, images), diff),
            Input::Outcome(key, outcome) => self.outcomes.update((key, outcome), diff),
            Input::Pin(stage, pin, start) => self.pins.update((stage, (pin, start)), diff),
            Input::ModelFile(stage, digest) => self.files.update((stage, digest), diff),
            Input::Remark(stage, remark) => self.remarks.update((stage, remark), diff),
        }
    }

    /// Closes all epochs before `time`.
    pub fn advance_to(&mut self, time: Time) {
        macro_rules! advance {
            ($($input:ident),*) => { $(self.$input.advance_to(time); self.$input.flush();)* };
        }
        advance!(series, outlines, images, outcomes, pins, files, remarks);
    }
}
