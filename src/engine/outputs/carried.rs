//! What a DICOM object carries of its scan's file beside what rows show: names, dates and numbers of the patient and the
//! study, which somebody may correct, or replace by pseudonyms, in place.

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, dicom_seg};

use crate::executor::Context;
use crate::executor::work::{ScanForm, SeriesRow};

/// The file that it was taken from as it was then, and what was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    file: String,
    study: String,
}

impl Carried {
    /// Reads what a scan's first file carries now; a file that is as `known` is not read again. Returns
    /// `None` where there is no such file.
    pub fn of(context: &Context, series: &SeriesRow, known: Option<&Self>) -> Option<Self> {
        if series.form != ScanForm::Instances {
            return None;
        }
        let lookup = context.lookup().ok()?;
        let record = lookup.slices(series.list).ok()?.slices.first()?.record;
        let found = lookup.places(series.series_uid(), &[record]).ok()?.pop()?;
        let stat = (found.size, found.mtime_ns, found.inode, found.ctime_ns);
        let file = Digest::of(&postcard::to_stdvec(&stat).ok()?).to_string();
        if let Some(known) = known.filter(|known| known.file == file) {
            return Some(known.clone());
        }
        let study = dicom_seg::study_of(&found.path).ok()?;
        Some(Self { file, study: Digest::of(format!("{study:?}").as_bytes()).to_string() })
    }

    /// Whether an object that carries one carries the other as well.
    pub fn same(&self, other: &Self) -> bool {
        self.study == other.study
    }
}
