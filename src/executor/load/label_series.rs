//! Labels that are a series of images: how a series is known by its digest, and its slices as they are drawn from.

use tomoflow_connectors::{Digest, Geometry, Reject};

use super::{Context, frames, unchanged};
use crate::executor::truth::Truth;
use crate::executor::work::{LabelRow, SeriesRow};
use crate::operators::source::{LabelSource, LabelStack, LabelsAt, Planes, SliceFile};

/// What the bytes of a series of labels begin with, so that none is taken for another list.
const KEPT: &[u8] = b"series of labels 1\0";

/// A series of labels as the index keeps it, by the digest that labels are known by.
pub fn kept(series: &SeriesRow) -> (Digest, Vec<u8>) {
    let mut bytes = KEPT.to_vec();
    // Rows of plain values always serialise.
    bytes.extend(postcard::to_stdvec(series).unwrap_or_default());
    (Digest::of(&bytes), bytes)
}

/// Reads what [`kept`] gave; `None` for what is no series of labels.
pub fn read(bytes: &[u8]) -> Option<SeriesRow> {
    postcard::from_bytes(bytes.strip_prefix(KEPT)?).ok()
}

impl Context {
    /// The labels of a scan that are a series of images.
    ///
    /// # Errors
    /// When a slice of them cannot be read or decoded, or whatever the source refuses.
    pub(super) fn of_label_series(
        &self,
        source: &dyn LabelSource,
        series: &SeriesRow,
        labels: &LabelRow,
    ) -> Result<Truth, Reject> {
        let own = self.lookup()?.label_series(labels.record)?;
        let (grid, geometry) = (Geometry::from(&own.grid), Geometry::from(&series.grid));
        let scan = self.drawn_on(series, labels)?;
        let drawn = self.decoded(&own, |list, files| {
            let slices: Vec<SliceFile> =
                frames(list, files).into_iter().map(|(path, frame)| SliceFile { path, frame }).collect();
            let at = LabelsAt {
                file: None,
                parts: &[],
                stack: Some(LabelStack { grid: &grid, slices: &slices }),
                series: series.series_uid(),
                record: labels.record,
                scan: &scan,
            };
            let drawn = source.draw(&at, &Planes { grid: &geometry, heights: &[] });
            // Files that changed are at fault before what they hold.
            drawn.map_err(|reject| unchanged(files).err().unwrap_or(reject))
        })?;
        self.truth_of(source, drawn, &geometry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::work::{Grid, ScanForm, SliceList};

    #[test]
    fn a_series_of_labels_is_no_other_list() {
        let series = SeriesRow {
            key: "1.2.3".into(),
            part: 0,
            form: ScanForm::Instances,
            study_uid: "1.2".into(),
            patient: "p".into(),
            modality: "OT".into(),
            manufacturer: "".into(),
            model_name: "".into(),
            description: "segmentation".into(),
            frame_of_reference: "1.9".into(),
            grid: Grid::from(&Geometry::axis_aligned([2, 3, 4], [1.0; 3])),
            list: Digest::of(b"list"),
            notes: Vec::new(),
            digest: Digest::of(b"voxels"),
        };
        let (digest, bytes) = kept(&series);
        assert_eq!((digest, read(&bytes)), (Digest::of(&bytes), Some(series)));
        assert!(SliceList::decode(&bytes).is_err());
        assert_eq!(read(&SliceList::default().encode()), None);
        assert!((0..bytes.len()).all(|end| read(&bytes[..end]).is_none()));
    }
}
