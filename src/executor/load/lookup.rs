//! Where content lies now, as the index says.

use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::{Digest, Reject};

use super::label_series;
use crate::executor::work::{SeriesRow, SliceList};
use crate::operators::source::vanished;
use crate::store::{Outcome, Recorded, Store, StoreError};

/// The index that knows where content lies now. A renamed file changes its answers, and no row.
pub trait Lookup: Send + Sync {
    /// The slices of a scan, by the list's digest.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a list that the index no longer holds.
    fn slices(&self, list: Digest) -> Result<SliceList, Reject>;

    /// Returns where the records of a series lie; with no series, outlines.
    ///
    /// # Errors
    /// `FILE_VANISHED` for a record that no source holds any more.
    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject>;

    /// The series that labels are, by the record of the labels.
    ///
    /// # Errors
    /// `FILE_VANISHED` for one that the index no longer holds.
    fn label_series(&self, record: Digest) -> Result<SeriesRow, Reject>;

    /// The artifact that an action left, if it is done.
    fn done(&self, key: Digest) -> Option<Digest>;
}

impl Lookup for Store {
    fn slices(&self, list: Digest) -> Result<SliceList, Reject> {
        let bytes = self.list(list).map_err(refused)?;
        bytes.and_then(|bytes| SliceList::decode(&bytes).ok()).ok_or_else(|| vanished(list))
    }

    fn places(&self, series: &str, records: &[Digest]) -> Result<Vec<FileStat>, Reject> {
        let places = Store::places(self, series, records).map_err(refused)?;
        places
            .into_iter()
            .zip(records)
            .map(|(place, &record)| place.ok_or_else(|| vanished(record)))
            .collect()
    }

    fn label_series(&self, record: Digest) -> Result<SeriesRow, Reject> {
        let bytes = self.list(record).map_err(refused)?;
        bytes.and_then(|bytes| label_series::read(&bytes)).ok_or_else(|| vanished(record))
    }

    fn done(&self, key: Digest) -> Option<Digest> {
        match self.outcomes(&[key]).ok()?.pop()?? {
            Recorded { outcome: Outcome::Ok { artifact, .. }, .. } => Some(artifact),
            _ => None,
        }
    }
}

fn refused(error: StoreError) -> Reject {
    Reject::new("STORE", error.to_string(), "it is tried again at the next run")
}

/// Checks that files still are what was indexed.
///
/// # Errors
/// `CHANGED` for a file with another size, time or inode.
pub(super) fn unchanged(files: &[FileStat]) -> Result<(), Reject> {
    for file in files {
        let now = tomoflow_connectors::container::stat(&file.path);
        if !now.is_ok_and(|now| file.is_still(&now)) {
            let message = format!("{} bytes were indexed, another file is there now", file.size);
            return Err(Reject::new("CHANGED", message, "the next run reads the file again"));
        }
    }
    Ok(())
}
