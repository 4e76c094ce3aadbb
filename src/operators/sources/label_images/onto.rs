//! A file's labels on a scan's grid, and the voxels that nobody labelled.

use std::path::Path;

use tomoflow_connectors::{Geometry, LabelMap, Reject, imagefile};

use super::super::crossing::Shares;
use super::super::ignore::left_out;
use super::LabelImages;
use crate::operators::source::Drawing;

/// The grid that a file's labels are drawn onto.
#[derive(Clone, Copy)]
pub(super) struct On<'a> {
    /// The scan's own.
    pub grid: &'a Geometry,
    /// Whether voxels are matched by their index, whatever the file says of its grid.
    pub by_index: bool,
}

impl On<'_> {
    /// The labels that `label_of` makes of values; `name_of` says what they are called, and `shares` which of them show
    /// others.
    ///
    /// # Errors
    /// `LABEL_SIZE` when voxels are matched by their index and the sizes differ; else as [`LabelMap::onto`].
    pub fn draw(
        self,
        found: &LabelMap,
        label_of: &(dyn Fn(u16) -> u16 + Sync),
        name_of: &dyn Fn(u16) -> String,
        shares: &Shares,
    ) -> Result<Drawing, Reject> {
        let (wanted, size) = (self.grid.size, found.size());
        if self.by_index && size != wanted {
            let message = format!("a label map of {wanted:?} voxels expected, {size:?} found");
            let turned = size.into_iter().rev().eq(wanted);
            let hint = match turned {
                true => "its axes run the other way round: the order is [D, H, W], e.g. `mask.transpose()`",
                false => "is it of another scan?",
            };
            return Err(Reject::new("LABEL_SIZE", message, hint));
        }
        if self.by_index {
            let voxels = found.voxels().iter().map(|&value| label_of(value)).collect();
            let labels = LabelMap::new(self.grid.clone(), voxels)
                .map_err(|error| Reject::new("LABEL_SIZE", error.to_string(), ""))?;
            return Ok(Drawing::from(labels));
        }
        let (labels, beside) = found.onto_telling(label_of, self.grid)?;
        let beside = shares.shown(beside, &labels);
        let notes = beside.told().into_iter().chain(beside.lost(name_of)).collect();
        Ok(Drawing { notes, ..Drawing::from(labels) })
    }
}

impl LabelImages {
    /// Returns how a file is drawn onto a grid; an array says nothing of where it lies.
    pub(super) fn on<'a>(&self, file: &Path, grid: &'a Geometry) -> On<'a> {
        On { grid, by_index: self.by_index || imagefile::is_array(file) }
    }

    /// Returns where a file says that nobody labelled a voxel, on the scan's grid; none where it says so
    /// nowhere.
    pub(super) fn ignored_in(&self, found: &LabelMap, on: On<'_>) -> Result<Option<LabelMap>, Reject> {
        let is_ignored = |value: u16| self.ignored.contains(&value);
        if self.ignored.is_empty() || !found.voxels().iter().any(|value| is_ignored(*value)) {
            return Ok(None);
        }
        let shares = Shares::default();
        match on.draw(found, &|value| u16::from(is_ignored(value)), &|_| String::new(), &shares) {
            Ok(drawn) => Ok(Some(drawn.labels)),
            // Beside the scan there is nothing to leave out.
            Err(reject) if reject.code == "OFF_GRID" => Ok(None),
            Err(reject) => Err(reject),
        }
    }

    /// A drawing without the voxels that any of these maps has, with a row that says how many they are.
    pub(super) fn left_out(&self, drawn: Drawing, ignored: &[LabelMap]) -> Result<Drawing, Reject> {
        left_out(drawn, ignored, "have values of `ignore`")
    }
}
