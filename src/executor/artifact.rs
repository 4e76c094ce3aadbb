//! How masks, metrics and prepared cases are written as artifacts.

#[cfg(test)]
mod tests;

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Geometry, LabelMap, Real, Reject, RunLength, Scan};

use crate::operators::samples::dataset::CaseBox;
use crate::operators::value::{Case, Detections, Mask, Metric};
use crate::store::FigureRow;
use crate::voxels::ignored::{IGNORED, IGNORED_CLASS};

/// A mask as runs: for each slice, its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskArtifact {
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// `[D, H, W]` of the scan's original grid.
    pub size: [usize; 3],
    /// The slices, each with its labels and their runs, by label; empty slices are empty lists.
    pub slices: Vec<Vec<(u16, RunLength)>>,
    /// Whether each label stands by itself, so that they may overlap: a mark behind the rest says so.
    #[serde(skip)]
    pub overlaps: bool,
}

impl MaskArtifact {
    /// Returns the runs of a mask.
    pub fn of(mask: &Mask) -> Self {
        let size = mask.labels.size();
        let slices = (0..size[0])
            .map(|index| {
                let slice = mask.labels.slice(index);
                let mut present: Vec<u16> = slice.iter().copied().filter(|&label| label != 0).collect();
                present.sort_unstable();
                present.dedup();
                present.into_iter().map(|label| (label, RunLength::encode(slice, label))).collect()
            })
            .collect();
        Self { label_names: mask.label_names.to_vec(), size, slices, overlaps: false }
    }

    /// The mask on a grid of the same size.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when the runs do not fit the grid, `OVERLAPPING_MASKS` where labels may overlap.
    pub fn on(&self, geometry: &Geometry) -> Result<Mask, Reject> {
        let damaged = || damaged("mask", "its runs do not fit the scan's grid");
        if self.size != geometry.size || self.slices.len() != self.size[0] {
            return Err(damaged());
        }
        if self.overlaps {
            let message = "a mask with one label a voxel expected, one whose labels may overlap found";
            let hint = "masks of `activation = \"sigmoid\"` are mended, evaluated and written label by label, and not put \
                        together with others";
            return Err(Reject::new("OVERLAPPING_MASKS", message, hint));
        }
        let mut labels = LabelMap::zeros(geometry.clone());
        let area = self.size[1] * self.size[2];
        for (slice, runs) in labels.voxels_mut().chunks_mut(area.max(1)).zip(&self.slices) {
            for (label, run) in runs {
                run.decode(slice, *label).ok_or_else(damaged)?;
            }
        }
        Ok(Mask { labels: Arc::new(labels), label_names: self.label_names.clone().into() })
    }
}

/// A transformed case, ready to be sampled: the header, then intensities and classes as they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedArtifact {
    /// The grid of the transformed case.
    pub geometry: Geometry,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// Intensities `[D, H, W]`, of several channels `[C, D, H, W]`.
    pub scan: Arc<[f32]>,
    /// Classes `[D, H, W]`; none for a scan alone.
    pub labels: Option<Arc<[u8]>>,
    /// The names of the channels; none of a scan of one.
    pub channels: Vec<String>,
    /// The boxes of things on the grid's slices, where these were marked by boxes.
    pub boxes: Option<Vec<CaseBox>>,
    /// The labels that nobody looked for, from 1 on.
    pub unknown: Vec<u8>,
}

/// What a prepared case says of its voxels, before them.
pub struct Heading {
    /// The grid of the transformed case.
    pub geometry: Geometry,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// Whether classes stand behind its intensities.
    pub labelled: bool,
    /// The number of channels, at least 1.
    pub channels: usize,
    /// The boxes of things, where these were marked by boxes.
    pub boxes: Option<Vec<CaseBox>>,
    /// The labels that nobody looked for, from 1 on.
    pub unknown: Vec<u8>,
    /// The byte of the first intensity.
    pub first: u64,
}

/// The names of channels stand behind it, where there are several; and behind them boxes and the labels that nobody looked
/// for, where there are such.
#[derive(Serialize, Deserialize)]
struct PreparedHeader {
    geometry: Geometry,
    label_names: Vec<String>,
    labelled: bool,
}

/// What stands behind a header.
struct Beside {
    channels: Vec<String>,
    boxes: Option<Vec<CaseBox>>,
    unknown: Vec<u8>,
}

impl Beside {
    fn read(bytes: &[u8]) -> Result<Self, Reject> {
        let (channels, more): (Vec<String>, &[u8]) = match bytes.is_empty() {
            true => (Vec::new(), bytes),
            false => {
                postcard::take_from_bytes(bytes).map_err(|_| damaged("prepared case", "it is not whole"))?
            }
        };
        let (boxes, unknown) =
            if more.is_empty() { (None, Vec::new()) } else { decode("prepared case", more)? };
        Ok(Self { channels, boxes, unknown })
    }
}

impl PreparedArtifact {
    /// Writes a case.
    ///
    /// # Errors
    /// When it has a label beyond 255 (networks have fewer classes).
    pub fn encode(case: &Case, boxes: Option<&[CaseBox]>) -> Result<Vec<u8>, Reject> {
        Self::encode_partly(case, boxes, &[])
    }

    /// Writes a case in which nobody looked for some labels.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_partly(case: &Case, boxes: Option<&[CaseBox]>, unknown: &[u8]) -> Result<Vec<u8>, Reject> {
        let header = PreparedHeader {
            geometry: case.scan.geometry().clone(),
            label_names: case.label_names.to_vec(),
            labelled: case.labels.is_some(),
        };
        let mut header = encode(&header)?;
        let (several, more) = (case.channel_count() > 1, boxes.is_some() || !unknown.is_empty());
        if several || more {
            let names: &[String] = if several { case.channel_names() } else { &[] };
            header.extend(encode(&names)?);
        }
        if more {
            header.extend(encode(&(boxes, unknown))?);
        }
        let per_voxel = 1 + 4 * case.channel_count();
        let mut bytes = Vec::with_capacity(8 + header.len() + case.scan.voxels().len() * per_voxel);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for value in case.scans().flat_map(|scan| scan.voxels()) {
            bytes.extend(value.to_le_bytes());
        }
        let ignores = case.label_names.len() < usize::from(IGNORED_CLASS);
        for &label in case.labels.iter().flat_map(|labels| labels.voxels()) {
            if label == IGNORED && ignores {
                bytes.push(IGNORED_CLASS);
                continue;
            }
            let label = u8::try_from(label).map_err(|_| {
                Reject::new("LABEL_TOO_LARGE", format!("labels up to 255 expected, {label} found"), "")
            })?;
            bytes.push(label);
        }
        Ok(bytes)
    }

    /// Reads a prepared case back.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when it is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let damaged = || damaged("prepared case", "it is not whole");
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (header, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let (header, names): (PreparedHeader, &[u8]) =
            postcard::take_from_bytes(header).map_err(|_| damaged())?;
        let Beside { channels, boxes, unknown } = Beside::read(names)?;
        let voxels = header.geometry.voxels();
        let bytes = voxels.saturating_mul(4).saturating_mul(channels.len().max(1));
        let (scan, labels) = rest.split_at_checked(bytes).ok_or_else(damaged)?;
        if labels.len() != if header.labelled { voxels } else { 0 } {
            return Err(damaged());
        }
        let scan = scan.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        Ok(Self {
            geometry: header.geometry,
            label_names: header.label_names,
            scan,
            labels: header.labelled.then(|| labels.into()),
            channels,
            boxes,
            unknown,
        })
    }

    /// Reads what an artifact says of its voxels before them, from its file.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when it is not whole, `STORE` when it cannot be read.
    pub fn heading(file: &std::fs::File) -> Result<Heading, Reject> {
        let damaged = || damaged("prepared case", "it is not whole");
        let unread = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(),
            _ => Reject::new("STORE", error.to_string(), "it is tried again at the next run"),
        };
        let bytes = file.metadata().map_err(unread)?.len();
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).map_err(unread)?;
        let length = u64::from_le_bytes(length);
        let first = length.checked_add(8).filter(|first| *first <= bytes).ok_or_else(damaged)?;
        let mut header = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        file.read_exact_at(&mut header, 8).map_err(unread)?;
        let (header, names): (PreparedHeader, &[u8]) =
            postcard::take_from_bytes(&header).map_err(|_| damaged())?;
        let Beside { channels, boxes, unknown } = Beside::read(names)?;
        let PreparedHeader { geometry, label_names, labelled } = header;
        let channels = channels.len().max(1);
        let voxels = geometry.size.iter().try_fold(1_u64, |voxels, &n| voxels.checked_mul(n as u64));
        let each = 4 * channels as u64 + u64::from(labelled);
        let whole = voxels.and_then(|voxels| voxels.checked_mul(each)?.checked_add(first));
        if whole != Some(bytes) {
            return Err(damaged());
        }
        Ok(Heading { geometry, label_names, labelled, channels, boxes, unknown, first })
    }

    /// Returns it as a case without labels, whose scan had another grid at first.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when its voxels do not fill its grid.
    pub fn unlabelled(&self, original: Arc<Geometry>) -> Result<Case, Reject> {
        let misfit =
            |error: tomoflow_connectors::volume::SizeMismatch| damaged("prepared case", &error.to_string());
        let case = |voxels: &[f32]| {
            let scan = Scan::new(self.geometry.clone(), voxels.to_vec()).map_err(misfit)?;
            let (scan, original, label_names) = (Arc::new(scan), original.clone(), Arc::from([]));
            Ok(Case { channels: None, scan, labels: None, original, label_names, padding: None })
        };
        let cases = self.scan.chunks(self.geometry.voxels().max(1)).map(case);
        Case::of_channels(cases.collect::<Result<_, Reject>>()?, self.channels.clone().into())
    }
}

/// Writes metrics or a mask.
///
/// # Errors
/// `NOT_ENCODED`, which would be a fault of tomoflow.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Reject> {
    postcard::to_stdvec(value).map_err(|error| Reject::new("NOT_ENCODED", error.to_string(), ""))
}

/// Reads metrics or a mask back; `what` is for the message.
///
/// # Errors
/// `DAMAGED_ARTIFACT`
pub fn decode<T: for<'a> Deserialize<'a>>(what: &str, bytes: &[u8]) -> Result<T, Reject> {
    postcard::from_bytes(bytes).map_err(|error| damaged(what, &error.to_string()))
}

/// Writes boxes; their masks stand behind them, where there are such.
///
/// # Errors
/// `NOT_ENCODED`, which would be a fault of tomoflow.
pub fn encode_found(found: &Detections) -> Result<Vec<u8>, Reject> {
    let mut bytes = encode(found)?;
    if let Some(masks) = &found.masks {
        bytes.extend(encode(masks)?);
    }
    Ok(bytes)
}

/// Reads boxes back; those of a detector without masks have none.
///
/// # Errors
/// `DAMAGED_ARTIFACT`
pub fn decode_found(bytes: &[u8]) -> Result<Detections, Reject> {
    let what = "list of boxes";
    let (mut found, rest): (Detections, &[u8]) =
        postcard::take_from_bytes(bytes).map_err(|error| damaged(what, &error.to_string()))?;
    if !rest.is_empty() {
        let masks: Vec<RunLength> = decode(what, rest)?;
        if masks.len() != found.boxes.len() {
            return Err(damaged(what, "there are not as many masks as boxes"));
        }
        found.masks = Some(masks);
    }
    Ok(found)
}

pub(super) fn damaged(what: &str, why: &str) -> Reject {
    Reject::new(
        "DAMAGED_ARTIFACT",
        format!("a {what} does not read back: {why}"),
        "delete it; it is made again",
    )
}

/// Metrics of one case.
pub type MetricsArtifact = Vec<Metric>;

/// Returns the metrics of one case as rows.
pub fn figure_rows(metrics: &[Metric]) -> Arc<[FigureRow]> {
    let row = |metric: &Metric| FigureRow {
        label: metric.label.as_str().into(),
        metric: metric.metric.as_str().into(),
        value: metric.value.map(Real::new),
        unit: metric.unit.as_str().into(),
        state: metric.state.clone(),
    };
    metrics.iter().map(row).collect()
}
