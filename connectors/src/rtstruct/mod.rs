//! RTSTRUCT: outlines as records, rasterised on a geometry, and written.

pub mod rasterise;
pub mod read;
pub mod write;

pub use rasterise::{Drawn, rasterise, rasterise_between};
pub use read::{Contour, ContourKind, Form, Outlines, Structure, StructureSet, read_structures};
