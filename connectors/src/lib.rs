//! The outside world as plain records: DICOM, RTSTRUCT, DICOM SEG, NIfTI, MetaImage, NRRD, PNG, Delta and
//! Parquet tables, TensorBoard's events.
//!
//! The lowest floor of tomoflow. It knows neither timely nor tch: it turns files into records and
//! volumes, and records and masks into files and tables.

pub mod container;
pub mod deeplesion;
pub mod dicom;
pub mod dicom_seg;
pub mod digest;
pub mod geometry;
pub mod imagefile;
mod machine;
pub mod metaimage;
mod nearest;
pub mod nifti;
pub mod nrrd;
mod overlap;
pub mod pages;
pub mod planes;
pub mod points;
pub mod private;
pub mod reading;
pub mod real;
pub mod reject;
pub mod rtstruct;
pub mod runlength;
pub mod shown;
#[cfg(feature = "tables")]
pub mod table;
pub mod tensorboard;
pub mod volume;

pub use digest::{Digest, Hashing};
pub use geometry::{Geometry, PatientPoint, VoxelIndex};
pub use nearest::Beside;
pub use overlap::Overlap;
pub use real::Real;
pub use reject::Reject;
pub use runlength::RunLength;
pub use volume::{Intensity, LabelMap, Scan, ShortScan, Volume};
