//! RTSTRUCT: outlines read as records, rasterised on a geometry, and written.

pub mod bind;
pub mod instances;
pub mod kind;
pub mod left_out;
pub mod rasterise;
pub mod read;
pub mod record;
pub mod write;

pub use bind::{Elsewhere, Whose};
pub use instances::Instances;
pub use kind::ContourKind;
pub use left_out::LeftOut;
pub use rasterise::{Drawn, rasterise, rasterise_between, rasterise_over};
pub use read::{Contour, Shared, Structure, StructureSet, read_structures};
pub(crate) use record::moment;
pub use record::{Form, OutlinePart, Outlines};
