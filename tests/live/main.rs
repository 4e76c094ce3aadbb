//! Runs that go on, and several processes: what hangs on clocks and on the system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod limited;
mod status;
mod strangers;
mod watching;
mod workers;
