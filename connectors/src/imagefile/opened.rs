//! A file whose header has been read, and whose voxels come next.

use std::path::PathBuf;

use super::{Layout, Stream};
use crate::{Digest, Geometry, LabelMap, Reject, Scan};

/// Where voxels lie, how they are kept, and the bytes that hold them.
pub(crate) struct Opened {
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
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
        self.layout.scan(self.geometry, self.stream)
    }

    /// Classes.
    pub(crate) fn labels(self) -> Result<LabelMap, Reject> {
        self.layout.labels(self.geometry, self.stream)
    }

    /// The digest of what the voxels are made of; they are read through once, and none is kept.
    pub(crate) fn digest(self) -> Result<Digest, Reject> {
        self.layout.digest(&self.geometry, self.stream)
    }
}
