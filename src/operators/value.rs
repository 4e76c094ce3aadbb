//! What operators take and give, for one case.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Geometry, LabelMap, Reject, RunLength, Scan};

use super::samples::things::Things;
use crate::metrics::State;

mod channels;

pub use channels::{Channel, Channels, listed};

/// A scan, with its labels when it has any, on one grid.
#[derive(Clone, Debug)]
pub struct Case {
    /// The channels beside the first of a scan of several; none of a scan of one.
    pub channels: Option<Arc<Channels>>,
    /// The intensities; of several channels those of the first.
    pub scan: Arc<Scan>,
    /// Classes on the same grid, absent for a scan without labels.
    pub labels: Option<Arc<LabelMap>>,
    /// The grid the scan had when it was assembled; masks return to it.
    pub original: Arc<Geometry>,
    /// The names of the labels, from label 1 on.
    pub label_names: Arc<[String]>,
    /// Voxels that only pad the scan (PixelPaddingValue), as 1 on its grid: no statistics count them, and nothing is
    /// interpolated with them. None where no voxel does.
    pub padding: Option<Arc<LabelMap>>,
}

impl Case {
    /// Bytes of its voxels, for budgets.
    pub fn bytes(&self) -> usize {
        let bytes = |labels: &Option<Arc<LabelMap>>| labels.as_ref().map_or(0, |labels| labels.bytes());
        let others = self.channels.iter().flat_map(|channels| channels.others());
        let others: usize = others.map(|channel| channel.scan.bytes() + bytes(&channel.padding)).sum();
        self.scan.bytes() + bytes(&self.labels) + bytes(&self.padding) + others
    }
}

/// A predicted label map on the scan's original grid.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Classes, 0 for background.
    pub labels: Arc<LabelMap>,
    /// The names of the labels, from label 1 on.
    pub label_names: Arc<[String]>,
}

/// Boxes that were found on a scan's original grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// The size `[D, H, W]` of the grid.
    pub size: [usize; 3],
    /// The kinds of things that were looked for, class 1 first.
    pub things: Things,
    /// The boxes slice by slice, the surest of each first.
    pub boxes: Vec<DetectedBox>,
    /// The pixels of each box's thing on its slice, where the network gives masks. They stand behind all else
    /// in an artifact.
    #[serde(skip)]
    pub masks: Option<Vec<RunLength>>,
}

/// A box on a slice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectedBox {
    /// The slice, from 0.
    pub slice: u32,
    /// The class of the thing, from 1 on.
    pub class: u8,
    /// The score, 0 to 1.
    pub score: f64,
    /// The edges of the box along `[H, W]` at the lower ends, in voxels: the first voxel begins at 0.
    pub low: [f64; 2],
    /// The edges of the box at the upper ends.
    pub high: [f64; 2],
}

/// One figure of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The name of the label.
    pub label: String,
    /// The name of the figure: `dice`, `assd`, `rve`, …
    pub metric: String,
    /// The figure; `None` where it is not defined (`state` says why).
    pub value: Option<f64>,
    /// The unit of the figure: `1`, `mm`, …
    pub unit: String,
    /// Which masks are empty, or what else there is to say.
    pub state: State,
}

/// Why an operator gave no result for a case: a row in `rejects`.
pub type Failure = Reject;
