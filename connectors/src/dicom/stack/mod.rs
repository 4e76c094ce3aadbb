//! The way from the slices of a series to stacks, each with one geometry, or to the name of what is wrong
//! with it.

mod asking;
pub mod assemble;
mod between;
mod declared;
mod gaps;
mod hints;
mod joined;
mod passes;
mod slices;
mod split;
mod strays;

pub use asking::assemble_asking;
pub use assemble::{Assembled, StackPart, assemble, assemble_comparing, assemble_with};
pub use between::load_scan_between;
pub use gaps::{OnGap, OnUneven, Rules, says_between};
pub use joined::{joined_series, scans_of_joined};
pub use slices::SliceRef;
pub use strays::{gather, stray_series};
