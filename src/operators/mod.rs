//! One operator a file, pure: what it declares, its configuration, and what it does to one case.

pub mod cases;
pub mod masks;
pub mod models;
pub mod registry;
pub mod samples;
pub mod scores;
pub mod sinks;
pub mod source;
pub mod sources;
pub mod spec;
pub mod value;

use registry::Entry;

/// The types that tomoflow brings, in the order of the reference.
pub const BUILTIN: &[Entry] = &[
    sources::dicom::ENTRY,
    sources::rtstruct::ENTRY,
    sources::dicom_seg::ENTRY,
    sources::images::ENTRY,
    sources::label_images::ENTRY,
    sources::deeplesion::ENTRY,
    sources::deeplesion::BOXES_ENTRY,
    cases::assemble::ENTRY,
    cases::label::ENTRY,
    cases::reorient::ENTRY,
    cases::resample::ENTRY,
    cases::crop::ENTRY,
    cases::pad::ENTRY,
    cases::zscore::ENTRY,
    cases::window::ENTRY,
    cases::clip::ENTRY,
    cases::percentiles::ENTRY,
    cases::histogram_match::ENTRY,
    samples::patches::ENTRY,
    samples::stack::ENTRY,
    samples::bag::ENTRY,
    samples::augment::ENTRY,
    models::threshold::ENTRY,
    models::train::ENTRY,
    models::infer::ENTRY,
    masks::largest_component::ENTRY,
    masks::remove_small::ENTRY,
    masks::fill_holes::ENTRY,
    masks::closing::ENTRY,
    masks::opening::ENTRY,
    masks::connected_components::ENTRY,
    masks::combine::ENTRY,
    scores::evaluate::ENTRY,
    sinks::delta::ENTRY,
    sinks::parquet::ENTRY,
    sinks::files::ENTRY,
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
