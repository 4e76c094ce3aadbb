//! Counts and distances to figures.

pub mod confusion;
pub mod distance;
pub mod surface;

pub use confusion::{Confusion, confusions};
pub use surface::{SurfaceDistances, surface_distances};
