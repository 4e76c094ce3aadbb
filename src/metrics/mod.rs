//! Counts and distances to figures.

mod bits;
pub mod bootstrap;
pub mod confusion;
pub mod detection;
mod distance;
mod holm;
mod lines;
pub mod packed;
pub mod signed_rank;
pub mod state;
pub mod statistics;
pub mod surface;

pub(crate) use bits::Ones;
pub use bootstrap::Bootstrap;
pub use confusion::{Confusion, Emptiness};
pub use detection::{Bounds, Found, Scored, average_precision, sensitivities};
pub use holm::holm;
pub use packed::{Packed, SizeMismatch};
pub use signed_rank::{SignedRank, difference};
pub use state::State;
pub use statistics::Statistics;
pub use surface::{SurfaceDistances, SurfaceError, surface_distances};
