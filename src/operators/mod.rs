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

/// The types that tomoflow brings, room by room.
pub const BUILTIN: [&[Entry]; 7] = [
    sources::ENTRIES,
    cases::ENTRIES,
    samples::ENTRIES,
    models::ENTRIES,
    masks::ENTRIES,
    scores::ENTRIES,
    sinks::ENTRIES,
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
