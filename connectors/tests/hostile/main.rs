//! Damaged files and files that lie: refused by name, and never a reason to ask for much memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../files/mod.rs"]
mod files;
#[path = "../volumes/mod.rs"]
mod volumes;

mod bounded;
mod damaged;
mod lies;
mod noting;
