//! A file whose header has been read, and whose voxels come next.

use std::path::PathBuf;

use super::{Layout, Stream, several_volumes};
use crate::{Digest, Geometry, LabelMap, Reject, Scan};

/// Where voxels lie, how they are kept, and the bytes that hold them.
pub(crate) struct Opened {
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    /// How many volumes lie one behind the other, at least 1.
    pub(crate) volumes: usize,
    /// It stands at the first voxel.
    pub(crate) stream: Stream,
    /// The file beside the header that holds the voxels, if one does.
    pub(crate) beside: Option<PathBuf>,
    /// What is worth knowing of it, by name.
    pub(crate) notes: Vec<String>,
}

impl Opened {
    /// Intensities.
    pub(crate) fn scan(self) -> Result<Scan, Reject> {
        self.one_volume()?;
        self.layout.scan(self.geometry, self.stream)
    }

    /// Intensities of each volume, in the order of the file.
    pub(crate) fn scans(self) -> Result<Vec<Scan>, Reject> {
        self.layout.scans(&self.geometry, self.volumes, self.stream)
    }

    /// Classes.
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
