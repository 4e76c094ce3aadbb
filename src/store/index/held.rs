//! What a file held, in short: as it is kept, and as it lies in the index.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;
use tomoflow_connectors::dicom::{FileStat, Record};

use super::super::StoreError;
use super::member;

/// What a file held, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// An instance of a series.
    Image {
        /// SeriesInstanceUID, or its surrogate.
        series: String,
        /// The record's digest.
        record: Digest,
    },
    /// Outlines.
    Outlines {
        /// The record's digest.
        record: Digest,
    },
    /// Nothing for a pipeline.
    Nothing {
        /// Why.
        code: String,
    },
    /// A volume, or a slice of one, of another format than DICOM.
    File {
        /// The record's digest.
        record: Digest,
    },
}

impl Held {
    /// What a record holds, in short.
    pub fn of(record: &Record) -> Self {
        let digest = || Digest::of(&postcard::to_stdvec(record).unwrap_or_default());
        match record {
            Record::Instance(instance) => {
                Self::Image { series: instance.series_uid.clone(), record: digest() }
            }
            Record::Outlines(_) => Self::Outlines { record: digest() },
            Record::Image(_) | Record::Read { .. } => Self::File { record: digest() },
            Record::Skip { code } => Self::Nothing { code: code.clone() },
        }
    }

    /// Its key in [`MEMBERS`], without the path.
    pub(super) fn member(&self) -> Option<Vec<u8>> {
        match self {
            Self::Image { series, record } => Some(member(series, *record)),
            Self::Outlines { record } | Self::File { record } => Some(member("", *record)),
            Self::Nothing { .. } => None,
        }
    }

    /// The digest of what is kept of it.
    pub fn record(&self) -> Option<Digest> {
        match self {
            Self::Image { record, .. } | Self::Outlines { record } | Self::File { record } => Some(*record),
            Self::Nothing { .. } => None,
        }
    }
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Path, size, time and inode; while they stay, the file is not read again.
    pub stat: FileStat,
    /// What it held.
    pub held: Held,
}

/// What a file held, as it lies in the index: a start looks at every file, and copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Holds<'a> {
    /// An instance of a series.
    Image {
        /// SeriesInstanceUID, or its surrogate.
        series: &'a str,
        /// The record's digest.
        record: Digest,
    },
    /// Outlines.
    Outlines {
        /// The record's digest.
        record: Digest,
    },
    /// Nothing for a pipeline.
    Nothing {
        /// Why.
        code: &'a str,
    },
    /// A volume, or a slice of one, of another format than DICOM.
    File {
        /// The record's digest.
        record: Digest,
    },
}

impl From<Holds<'_>> for Held {
    fn from(holds: Holds<'_>) -> Self {
        match holds {
            Holds::Image { series, record } => Self::Image { series: series.to_owned(), record },
            Holds::Outlines { record } => Self::Outlines { record },
            Holds::Nothing { code } => Self::Nothing { code: code.to_owned() },
            Holds::File { record } => Self::File { record },
        }
    }
}

/// A file as it lies in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The path at which the file lay.
    pub path: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The file's number on its device.
    pub inode: u64,
    /// Time of the last change of anything; none in what was written before it was kept.
    pub ctime_ns: Option<i64>,
    /// What it held.
    pub holds: Holds<'a>,
}

impl<'a> Known<'a> {
    /// A file as it was copied from there.
    pub fn of(file: &'a Indexed) -> Self {
        let FileStat { path, size, mtime_ns, inode, ctime_ns } = &file.stat;
        let holds = match &file.held {
            Held::Image { series, record } => Holds::Image { series, record: *record },
            Held::Outlines { record } => Holds::Outlines { record: *record },
            Held::Nothing { code } => Holds::Nothing { code },
            Held::File { record } => Holds::File { record: *record },
        };
        Self { path, size: *size, mtime_ns: *mtime_ns, inode: *inode, ctime_ns: *ctime_ns, holds }
    }

    pub(super) fn new(path: &'a [u8], entry: &'a [u8]) -> Result<Self, StoreError> {
        let ((size, mtime_ns, inode, holds), rest) = postcard::take_from_bytes(entry)?;
        // It stands behind what is always there.
        let ctime_ns = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest)?) };
        let path = Path::new(OsStr::from_bytes(path));
        Ok(Self { path, size, mtime_ns, inode, ctime_ns, holds })
    }

    /// Whether a file at the same place is the one that was read.
    pub fn is(&self, stat: &FileStat) -> bool {
        (self.size, self.mtime_ns, self.inode) == (stat.size, stat.mtime_ns, stat.inode)
            && (self.ctime_ns.is_none() || self.ctime_ns == stat.ctime_ns)
    }
}

impl From<Known<'_>> for Indexed {
    fn from(known: Known<'_>) -> Self {
        let Known { path, size, mtime_ns, inode, ctime_ns, holds } = known;
        let stat = FileStat { path: path.to_owned(), size, mtime_ns, inode, ctime_ns };
        Self { stat, held: holds.into() }
    }
}
