//! The `[pipeline]` table, and what every operator may carry: declared as fields like any other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

pub use super::common::{COMMON, FIELDS};
use super::extends::Files;
use super::fields::Checker;
use super::plan::{Identifiers, Settings};
use super::problem::{Found, Span};
use super::tree::{Table, Value};
use crate::operators::spec::{Config, Field};

/// The typed form of [`COMMON`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Common {
    pub keep: bool,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
}

/// Checks what every operator may carry; the operator's own fields are looked at elsewhere.
pub(super) fn common(
    table: &Table,
    header: Span,
    files: &Files,
    own: &[Field],
    found: &mut Vec<Found>,
) -> Common {
    let others: Vec<_> = table.entries.iter().map(|(key, _)| key.name.as_str()).collect();
    let mut checker = Checker::new(files);
    // A type that has more to say about a common field has a field of its own for it.
    let fields: Vec<Field> =
        COMMON.iter().filter(|one| own.iter().all(|own| own.name != one.name)).copied().collect();
    let config = checker.table(table, header, "an operator", &fields, &others).unwrap_or_default();
    found.append(&mut checker.found);
    let keeps = || match table.get("keep").map(|(_, node)| &node.value) {
        Some(Value::Bool(keep)) => *keep,
        Some(Value::List(maps)) => !maps.is_empty(),
        _ => false,
    };
    Common {
        keep: keeps(),
        timeout: milliseconds(&config, "timeout"),
        // The default stands for the whole chain, and must not hide what an operator before says.
        retries: table
            .get("retries")
            .and_then(|_| config.get("retries")?.as_u64())
            .and_then(|retries| u32::try_from(retries).ok()),
    }
}

/// Whether `[pipeline]` has a field of this name.
pub(super) fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|field| field.name == name)
}

/// Checks the `[pipeline]` table.
pub(super) fn check(table: &Table, header: Span, files: &Files, found: &mut Vec<Found>) -> Option<Config> {
    let mut checker = Checker::new(files);
    let config = checker.table(table, header, "`pipeline`", FIELDS, &[]);
    found.append(&mut checker.found);
    let config = config?;
    let before = found.len();
    let span = |field| table.get(field).map_or(header, |(_, node)| node.span);
    let device = text(&config, "device");
    if !is_device(&device) {
        let problem = Found::new(span("device"), "`device` takes `auto`, `cpu`, `cuda` or `cuda:N`");
        found.push(
            problem.label(format!("`{device}` found")).hint("GPUs are counted from 0: `cuda:0` is the first"),
        );
    }
    if let Some(Err((label, hint))) = config.get("metrics").and_then(Json::as_str).map(metrics) {
        let problem = Found::new(span("metrics"), "`metrics` takes a loopback address, `IP:PORT`");
        found.push(problem.label(label).hint(hint));
    }
    if let Some(Err(label)) = config.get("workers").and_then(Json::as_str).map(is_address) {
        let problem = Found::new(span("workers"), "`workers` takes an address, `HOST:PORT`");
        found.push(
            problem.label(label).hint("for example `127.0.0.1:7400`, or `0.0.0.0:7400` for other machines"),
        );
    }
    (found.len() == before).then_some(config)
}

/// The address of the metrics, or what is wrong with it and a remedy. Whoever reads them needs no
/// password, so they are given to this machine only.
fn metrics(text: &str) -> Result<SocketAddr, (String, &'static str)> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err((
            "an address that other machines reach".to_owned(),
            "write `127.0.0.1:9464`; an agent or a proxy on this machine passes them on",
        )),
        Err(_) => Err((format!("`{text}` found"), "for example `127.0.0.1:9464` or `[::1]:9464`")),
    }
}

/// Whether a text may be an address to listen at; what is found where it is none.
fn is_address(text: &str) -> Result<(), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let sound = !host.is_empty() && port.parse::<u16>().is_ok();
    if sound { Ok(()) } else { Err(format!("`{text}` found")) }
}

fn is_device(device: &str) -> bool {
    let number = |text: &str| {
        text.len() <= 3 && !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit())
    };
    ["auto", "cpu", "cuda"].contains(&device) || device.strip_prefix("cuda:").is_some_and(number)
}

/// The typed form of a checked `[pipeline]` table.
pub(super) fn read(config: &Config, file: PathBuf) -> Settings {
    Settings {
        name: text(config, "name"),
        file,
        out: PathBuf::from(text(config, "out")),
        memory_bytes: config.get("memory").and_then(Json::as_u64).unwrap_or_default(),
        device: text(config, "device"),
        identifiers: match text(config, "identifiers").as_str() {
            "clear" => Identifiers::Clear,
            _ => Identifiers::Pseudonymous,
        },
        free_text: text(config, "free_text") != "drop",
        allowed_rejects: config.get("allowed_rejects").and_then(Json::as_f64).unwrap_or_default(),
        metrics: config.get("metrics").and_then(Json::as_str).and_then(|text| metrics(text).ok()),
        workers: config.get("workers").and_then(Json::as_str).map(str::to_owned),
        settle: milliseconds(config, "settle").unwrap_or_default(),
        rescan: milliseconds(config, "rescan").unwrap_or_default(),
    }
}

fn milliseconds(config: &Config, name: &str) -> Option<Duration> {
    config.get(name).and_then(Json::as_u64).map(Duration::from_millis)
}

fn text(config: &Config, name: &str) -> String {
    config.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::common::RETRIES;
    use super::*;
    use crate::operators::spec::Default;

    #[test]
    fn the_default_of_retries_is_the_one_that_holds() {
        let field = COMMON.iter().find(|field| field.name == "retries").unwrap();
        assert!(matches!(field.default, Default::Json(text) if text == RETRIES.to_string()));
    }
}
