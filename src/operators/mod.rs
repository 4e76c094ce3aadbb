//! One operator a file, pure: what it declares, its configuration, and what it does to one case.

pub mod assemble;
pub mod augment;
pub mod bag;
pub mod clip;
pub mod closing;
pub mod combine;
pub mod connected_components;
pub mod crop;
pub mod cuboid;
pub mod dataset;
pub mod declared_grid;
pub mod deeplesion;
pub mod delta;
pub mod dicom;
pub mod dicom_seg;
pub mod drawn;
pub mod evaluate;
pub mod files;
pub mod fill_holes;
pub mod histogram_match;
pub mod images;
pub mod infer;
pub mod intensities;
pub mod label;
pub mod label_images;
pub mod largest_component;
pub mod models;
pub mod names;
pub mod neighbours;
pub mod opening;
pub mod pad;
pub mod parquet;
pub mod patches;
pub mod patterns;
pub mod percentiles;
pub mod registry;
pub mod remove_small;
pub mod reorient;
pub mod resample;
pub mod rtstruct;
pub mod rules;
pub mod sink;
pub mod spec;
pub mod stack;
pub mod tally;
pub mod threshold;
pub mod train;
pub mod value;
pub mod view;
pub mod window;
pub mod zscore;

use registry::Entry;

/// The types that tomoflow brings, in the order of the reference.
pub const BUILTIN: &[Entry] = &[
    dicom::ENTRY,
    rtstruct::ENTRY,
    dicom_seg::ENTRY,
    images::ENTRY,
    label_images::ENTRY,
    deeplesion::ENTRY,
    deeplesion::BOXES_ENTRY,
    assemble::ENTRY,
    label::ENTRY,
    reorient::ENTRY,
    resample::ENTRY,
    crop::ENTRY,
    pad::ENTRY,
    zscore::ENTRY,
    window::ENTRY,
    clip::ENTRY,
    percentiles::ENTRY,
    histogram_match::ENTRY,
    patches::ENTRY,
    stack::ENTRY,
    bag::ENTRY,
    augment::ENTRY,
    threshold::ENTRY,
    train::ENTRY,
    infer::ENTRY,
    largest_component::ENTRY,
    remove_small::ENTRY,
    fill_holes::ENTRY,
    closing::ENTRY,
    opening::ENTRY,
    connected_components::ENTRY,
    combine::ENTRY,
    evaluate::ENTRY,
    delta::ENTRY,
    parquet::ENTRY,
    files::ENTRY,
];

/// Reads a checked configuration into a stage's own type.
///
/// # Errors
/// One problem, when the checker let something through that the type refuses (a fault of the spec).
pub fn read_config<T: serde::de::DeserializeOwned>(
    config: &spec::Config,
) -> Result<T, Vec<spec::FieldProblem>> {
    serde_json::from_value(serde_json::Value::Object(config.clone()))
        .map_err(|error| vec![spec::FieldProblem::new("", error.to_string(), "")])
}
