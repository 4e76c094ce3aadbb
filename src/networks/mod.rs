//! The only home of tch: blocks, architectures, losses, checkpoints, training and inference.

pub mod sample;
