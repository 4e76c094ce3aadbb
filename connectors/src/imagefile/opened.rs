//! A file whose header has been read, and whose voxels come next.

use std::path::PathBuf;

use super::{Layout, Stream, several_volumes};
use crate::{Digest, Geometry, LabelMap, Reject, Scan};

/// The grid of voxels, the way they are kept, and the bytes that hold them.
pub(crate) struct Opened {
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    /// The number of volumes that lie one behind the other, at least 1.
    pub(crate) volumes: usize,
    /// The stream, which stands at the first voxel.
    pub(crate) stream: Stream,
    /// The file beside the header that holds the voxels, if one does.
    pub(crate) beside: Option<PathBuf>,
    /// The notes on what is worth knowing, by name.
    pub(crate) notes: Vec<String>,
}

impl Opened {
    /// Reads intensities.
    pub(crate) fn scan(self) -> Result<Scan, Reject> {
        self.one_volume()?;
        self.layout.scan(self.geometry, self.stream)
    }

    /// Reads the intensities of each volume, in the order of the file.
    pub(crate) fn scans(self) -> Result<Vec<Scan>, Reject> {
        self.layout.scans(&self.geometry, self.volumes, self.stream)
    }

    /// Reads classes.
    pub(crate) fn labels(self) -> Result<LabelMap, Reject> {
        self.one_volume()?;
        self.layout.labels(self.geometry, self.stream)
    }

    /// Refuses a file of several volumes where one is meant.
    pub(crate) fn one_volume(&self) -> Result<(), Reject> {
        if self.volumes == 1 {
            Ok(())
        } else {
            Err(several_volumes(&format!("{} in one file", self.volumes)))
        }
    }

    /// The digest of what the voxels are made of; they are read through once, and none is kept.
    pub(crate) fn digest(self) -> Result<Digest, Reject> {
        self.layout.digest(&self.geometry, self.volumes, self.stream)
    }
}
