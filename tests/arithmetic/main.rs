//! Operators and networks against references, closed forms and goldens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../support/golden.rs"]
mod golden;

mod networks_infer;
mod networks_logits;
mod networks_train;
mod operators_boxes;
mod operators_golden;
mod operators_masks;
mod operators_padding;
mod operators_resample;
mod operators_splines;
mod versions;
mod windows;
