//! The scans of a case that are its channels beside the first one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BoundCase, SeriesRow};

/// The scans that are channels of a case beside its first one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Beside {
    /// The names of all channels, the first scan's before the others'.
    pub names: Arc<[String]>,
    /// The scans, in the order of the inputs.
    pub others: Vec<Other>,
}

/// A scan beside the first one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Other {
    /// The number of channels that it has.
    pub channels: u16,
    /// The scan; none where it is missing, and its channels are 0.
    pub series: Option<Arc<SeriesRow>>,
}

impl Other {
    /// Returns it as a case of its own.
    pub fn case(&self) -> Option<BoundCase> {
        self.series.as_ref().map(|series| BoundCase::of(series.clone()))
    }
}

impl BoundCase {
    /// A scan without labels.
    pub fn of(series: Arc<SeriesRow>) -> Self {
        Self { series, labels: None, beside: None }
    }

    /// Its first scan, which the labels are drawn on.
    pub fn first(&self) -> Self {
        Self { beside: None, ..self.clone() }
    }

    /// Returns all its scans that are there, the first one before the others.
    pub fn scans(&self) -> impl Iterator<Item = &Arc<SeriesRow>> {
        let others = self.beside.iter().flat_map(|beside| &beside.others);
        std::iter::once(&self.series).chain(others.filter_map(|other| other.series.as_ref()))
    }

    /// Whether files of one of its scans say which values only pad it.
    pub fn is_padded(&self) -> bool {
        self.scans().any(|series| series.is_padded())
    }

    /// Returns what of the padding of its scans a result depends on: that they have some, and the values
    /// where they are known.
    pub fn padding(&self) -> Option<Vec<u8>> {
        let values = self.scans().flat_map(|series| series.padding());
        self.is_padded()
            .then(|| std::iter::once("padding").chain(values).collect::<Vec<_>>().join("\0").into())
    }

    /// Returns what is worth knowing of its channels, for tables: their names, and which are missing.
    pub fn channel_notes(&self) -> Vec<String> {
        let Some(beside) = &self.beside else { return Vec::new() };
        let mut notes = vec![format!("CHANNELS: {}", beside.names.join(", "))];
        let others: usize = beside.others.iter().map(|other| usize::from(other.channels)).sum();
        let mut place = beside.names.len().saturating_sub(others);
        for other in &beside.others {
            let end = (place + usize::from(other.channels)).min(beside.names.len());
            if other.series.is_none() {
                let names = beside.names.get(place..end).unwrap_or_default().join(", ");
                notes.push(format!("CHANNEL_MISSING: {names} is 0 everywhere"));
            }
            place = end;
        }
        notes
    }
}
