//! Trained networks on whole volumes: windows, blended logits, masks and maps.

pub mod detect;
pub mod maps;
pub mod model;
pub mod slab;
pub mod thresholds;
pub mod walk;
pub mod window;
