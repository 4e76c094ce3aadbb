//! What lies between two outputs of one stage and case: the exact setting, code version, instance, label,
//! model or training case.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;
use tomoflow_connectors::Digest;

use super::ledger::{ChannelUsed, OperatorUsed};
use crate::executor::work::{Member, SliceList, SliceRow};
use crate::operators::models::train::Part;
use crate::store::{Made, Store, StoreError};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// A setting of a stage.
    Setting {
        /// The stage.
        stage: String,
        /// The field; `a.b` within a table.
        field: String,
        /// Its value then, as JSON.
        before: String,
        /// The field's value now.
        now: String,
    },
    /// The code of an operator.
    Code {
        /// The operator's type.
        operator: String,
        /// The operator's version then.
        before: u32,
        /// The operator's version now.
        now: u32,
    },
    /// An operator came into the chain.
    OperatorAdded {
        /// The operator's type.
        operator: String,
    },
    /// An operator left the chain.
    OperatorRemoved {
        /// The operator's type.
        operator: String,
    },
    /// A slice of the scan came.
    InstanceAdded {
        /// The SOPInstanceUID of the instance.
        sop_instance: String,
    },
    /// A slice of the scan went.
    InstanceRemoved {
        /// The SOPInstanceUID of the instance.
        sop_instance: String,
    },
    /// A slice's pixels, or how they are decoded.
    InstanceChanged {
        /// The SOPInstanceUID of the instance.
        sop_instance: String,
    },
    /// Slices lie elsewhere in patient space, or in another order.
    Geometry,
    /// The case has labels now.
    LabelsAdded,
    /// The case has no labels any more.
    LabelsRemoved,
    /// The outlines are others.
    LabelsChanged,
    /// Another mask to start from.
    Mask,
    /// The weights are others.
    Model {
        /// The weights' digest then.
        before: String,
        /// The weights' digest now.
        now: String,
    },
    /// A case came into the training.
    CaseAdded {
        /// The case.
        case: String,
        /// Its part of the split.
        part: String,
    },
    /// A case left the training.
    CaseRemoved {
        /// The case.
        case: String,
        /// Its part of the split.
        part: String,
    },
    /// A case's voxels or labels, or its part of the split.
    CaseChanged {
        /// The case.
        case: String,
    },
}

impl Difference {
    /// The difference in a word or two, for counts: `scan changed`, `` `above` of bright changed ``.
    pub fn reason(&self) -> String {
        match self {
            Self::Setting { stage, field, .. } => format!("`{field}` of {stage} changed"),
            Self::Code { operator, .. } => format!("code of `{operator}` changed"),
            Self::OperatorAdded { operator } => format!("`{operator}` added"),
            Self::OperatorRemoved { operator } => format!("`{operator}` removed"),
            Self::InstanceAdded { .. } | Self::InstanceRemoved { .. } | Self::InstanceChanged { .. } => {
                "scan changed".to_owned()
            }
            Self::Geometry => "scan's geometry changed".to_owned(),
            Self::LabelsAdded => "new label".to_owned(),
            Self::LabelsRemoved => "label withdrawn".to_owned(),
            Self::LabelsChanged => "label changed".to_owned(),
            Self::Mask => "mask changed".to_owned(),
            Self::Model { .. } => "model changed".to_owned(),
            Self::CaseAdded { .. } | Self::CaseRemoved { .. } | Self::CaseChanged { .. } => {
                "training cases changed".to_owned()
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { stage, field, before, now } => write!(f, "{stage}: `{field}` {before} -> {now}"),
            Self::Code { operator, before, now } => {
                write!(f, "the code of `{operator}`: version {before} -> {now}")
            }
            Self::InstanceAdded { sop_instance } => write!(f, "instance {sop_instance} added"),
            Self::InstanceRemoved { sop_instance } => write!(f, "instance {sop_instance} removed"),
            Self::InstanceChanged { sop_instance } => write!(f, "instance {sop_instance} changed"),
            Self::Model { before, now } => write!(f, "model {} -> {}", short(before), short(now)),
            Self::CaseAdded { case, part } => write!(f, "case {case} added ({part})"),
            Self::CaseRemoved { case, part } => write!(f, "case {case} removed ({part})"),
            Self::CaseChanged { case } => write!(f, "case {case} changed"),
            other => f.write_str(&other.reason()),
        }
    }
}

/// The first digits of a digest's text, for people.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Finds everything that lies between what entered one action and what entered another.
///
/// `parts` are descriptions that the store may not hold yet (of an action that has not run).
///
/// # Errors
/// When the store cannot be read.
pub fn differences(
    store: &Store,
    before: &Made,
    now: &Made,
    parts: &[(Digest, Vec<u8>)],
) -> Result<Vec<Difference>, StoreError> {
    let part = |digest: Digest| -> Result<Option<Vec<u8>>, StoreError> {
        match parts.iter().find(|(known, _)| *known == digest) {
            Some((_, bytes)) => Ok(Some(bytes.clone())),
            None => store.part(digest),
        }
    };
    let mut found = Vec::new();
    if before.recipe != now.recipe {
        let chain = |bytes: Option<Vec<u8>>| -> Vec<OperatorUsed> {
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
        };
        recipes(&chain(part(before.recipe)?), &chain(part(now.recipe)?), &mut found);
    }
    if let (Some(then), Some(now)) = (before.scan, now.scan)
        && then != now
    {
        let list = |digest| -> Result<Vec<SliceRow>, StoreError> {
            match store.list(digest)? {
                Some(bytes) => Ok(SliceList::decode(&bytes)?.slices),
                None => of_channels(store, &channels(part(digest)?)),
            }
        };
        scans(&list(then)?, &list(now)?, &mut found);
    }
    match (before.labels, now.labels) {
        (None, Some(_)) => found.push(Difference::LabelsAdded),
        (Some(_), None) => found.push(Difference::LabelsRemoved),
        (then, now) if then != now => found.push(Difference::LabelsChanged),
        _ => {}
    }
    if before.mask != now.mask {
        found.push(Difference::Mask);
    }
    if let (Some(then), Some(now)) = (before.model, now.model)
        && then != now
    {
        let models = |digest| -> Result<Vec<Digest>, StoreError> { Ok(ensemble(digest, part(digest)?)) };
        found.push(changed_model((then, &models(then)?), (now, &models(now)?)));
    }
    if let (Some(then), Some(now)) = (before.dataset, now.dataset)
        && then != now
    {
        let members = |bytes: Option<Vec<u8>>| -> Vec<Member> {
            bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default()
        };
        datasets(&members(part(then)?), &members(part(now)?), &mut found);
    }
    found.sort();
    Ok(found)
}

/// Returns what the scans of a case gave, by their description; nothing for a case of one scan.
pub fn channels(described: Option<Vec<u8>>) -> Vec<ChannelUsed> {
    described.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default()
}

/// The slices of all channels.
///
/// # Errors
/// When the store cannot be read.
pub fn of_channels(store: &Store, channels: &[ChannelUsed]) -> Result<Vec<SliceRow>, StoreError> {
    let mut slices = Vec::new();
    for list in channels.iter().filter_map(|channel| channel.list) {
        if let Some(bytes) = store.list(list)? {
            slices.extend(SliceList::decode(&bytes)?.slices);
        }
    }
    Ok(slices)
}

/// Returns what changed between two models, each with those that it is an ensemble of: the one that did, if
/// it is one.
fn changed_model(before: (Digest, &[Digest]), now: (Digest, &[Digest])) -> Difference {
    let only = |a: &[Digest], b: &[Digest]| -> Vec<Digest> {
        a.iter().filter(|model| !b.contains(model)).copied().collect()
    };
    let (before, now) = match (only(before.1, now.1).as_slice(), only(now.1, before.1).as_slice()) {
        ([before], [now]) => (*before, *now),
        _ => (before.0, now.0),
    };
    Difference::Model { before: before.to_string(), now: now.to_string() }
}

/// The models of an ensemble, by what names all of them; none for a single model.
///
/// # Errors
/// When the store cannot be read.
pub fn members(store: &Store, model: Option<Digest>) -> Result<Vec<Digest>, StoreError> {
    let Some(model) = model else { return Ok(Vec::new()) };
    let mut members = ensemble(model, store.part(model)?);
    members.retain(|member| *member != model);
    Ok(members)
}

/// The models that a digest names, with its description: several for an ensemble, else itself.
fn ensemble(model: Digest, described: Option<Vec<u8>>) -> Vec<Digest> {
    let models = described.and_then(|bytes| postcard::from_bytes::<Vec<Digest>>(&bytes).ok());
    models.unwrap_or_else(|| vec![model])
}

/// Compares chains: operators are matched by their types, in order.
fn recipes(before: &[OperatorUsed], now: &[OperatorUsed], found: &mut Vec<Difference>) {
    let mut left: Vec<&OperatorUsed> = before.iter().collect();
    for part in now {
        let Some(at) = left.iter().position(|known| known.operator == part.operator) else {
            found.push(Difference::OperatorAdded { operator: part.operator.clone() });
            continue;
        };
        let known = left.remove(at);
        if known.version != part.version {
            let (before, now) = (known.version, part.version);
            found.push(Difference::Code { operator: part.operator.clone(), before, now });
        }
        let (then, now) = (Json::Object(known.settings.clone()), Json::Object(part.settings.clone()));
        settings(&part.stage, "", &then, &now, found);
    }
    let removed = |part: &&OperatorUsed| Difference::OperatorRemoved { operator: part.operator.clone() };
    found.extend(left.iter().map(removed));
}

fn settings(stage: &str, field: &str, before: &Json, now: &Json, found: &mut Vec<Difference>) {
    if before == now {
        return;
    }
    let (Json::Object(then), Json::Object(table)) = (before, now) else {
        found.push(Difference::Setting {
            stage: stage.to_owned(),
            field: field.to_owned(),
            before: before.to_string(),
            now: now.to_string(),
        });
        return;
    };
    let names: std::collections::BTreeSet<&String> = then.keys().chain(table.keys()).collect();
    for name in names {
        let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
        let value = |of: &serde_json::Map<String, Json>| of.get(name).cloned().unwrap_or(Json::Null);
        settings(stage, &field, &value(then), &value(table), found);
    }
}

fn scans(before: &[SliceRow], now: &[SliceRow], found: &mut Vec<Difference>) {
    let by_instance = |slices: &[SliceRow]| -> BTreeMap<(String, u32), Digest> {
        slices.iter().map(|slice| ((slice.sop_uid.clone(), slice.frame), slice.content)).collect()
    };
    let (then, after) = (by_instance(before), by_instance(now));
    let mut changed = std::collections::BTreeSet::new();
    for (slice @ (sop, _), content) in &after {
        let sop_instance = sop.clone();
        match then.get(slice) {
            None => drop(changed.insert(Difference::InstanceAdded { sop_instance })),
            Some(known) if known != content => {
                changed.insert(Difference::InstanceChanged { sop_instance });
            }
            Some(_) => {}
        }
    }
    let gone = then.keys().filter(|slice| !after.contains_key(*slice));
    changed.extend(gone.map(|(sop, _)| Difference::InstanceRemoved { sop_instance: sop.clone() }));
    if changed.is_empty() {
        changed.insert(Difference::Geometry);
    }
    found.extend(changed);
}

fn datasets(before: &[Member], now: &[Member], found: &mut Vec<Difference>) {
    let by_case = |members: &[Member]| -> BTreeMap<String, (Part, Option<Digest>)> {
        members.iter().map(|member| (member.case.clone(), (member.part, member.prepared))).collect()
    };
    let (then, after) = (by_case(before), by_case(now));
    for (case, stands) in &after {
        match then.get(case) {
            None => {
                found.push(Difference::CaseAdded { case: case.clone(), part: stands.0.name().to_owned() })
            }
            Some(known) if known != stands => found.push(Difference::CaseChanged { case: case.clone() }),
            Some(_) => {}
        }
    }
    let gone = then.iter().filter(|(case, _)| !after.contains_key(*case));
    found.extend(gone.map(|(case, (part, _))| Difference::CaseRemoved {
        case: case.clone(),
        part: part.name().to_owned(),
    }));
}
