//! Whole runs: what is done, what is kept, and what the tables then hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by its panic"
)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod atlases;
mod bound;
mod boxes;
mod broken;
mod changes;
mod channels;
mod cleaned;
mod collection;
mod combining;
mod copies;
mod crash;
mod crossing;
mod earlier;
mod export;
mod folds;
mod foreign;
mod gaps;
mod heads;
mod ignored;
mod images;
mod init;
mod init_layouts;
mod init_sets;
mod init_studies;
mod inspect;
mod label_maps;
mod label_series;
mod labels;
mod larger;
mod left_out;
mod livers;
mod maps;
mod marked;
mod models;
mod moved;
mod oracle;
mod packed;
mod padded;
mod partly;
mod parts;
mod pelvis;
mod per_slice;
mod phantom;
mod places;
mod planning;
mod pooled;
mod privacy;
mod readers;
mod real_dicom;
mod regions;
mod report;
mod rules;
mod seeing;
mod sound;
mod starting;
mod summary;
mod surviving;
mod tables;
mod told;
mod unlabelled;
mod unmatched;
mod vanished;
