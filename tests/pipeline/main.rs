//! Pipeline files: every problem and its place, and the floors of the sources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../support/mod.rs"]
mod support;

mod brought;
mod circles;
mod examples;
mod floors;
mod papers;
mod pipeline_problems;
mod pipelines;
mod seams;
mod words;
