//! Counts and distances to figures.

pub mod confusion;
pub mod distance;
pub mod statistics;
pub mod surface;

pub use confusion::{Confusion, State, confusions};
pub use statistics::Statistics;
pub use surface::{SurfaceDistances, surface_distances};
