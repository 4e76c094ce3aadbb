//! Label maps to things with a box each: the parts of a slice that have certain labels.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tomoflow_connectors::Reject;

use super::dataset::CaseBox;
use crate::metrics::detection::Bounds;
use crate::networks::{Instance, PlaneMask};
use crate::operators::source::DrawnBox;
use crate::operators::spec::{Config, Field, FieldKind, FieldProblem, Role};
use crate::voxels::parts::{Part, numbered, parts};

/// A part of fewer pixels is no thing.
pub const LEAST_PIXELS: usize = 4;

/// The field of views.
pub const INSTANCES: Field = Field::absent(
    "instances",
    FieldKind::Map(&FieldKind::List { of: &FieldKind::Text, len: None }),
    Role::SemanticLater,
    "The classes that a detector is trained to find, by name, each with the labels that it is made of: `{ \
     liver = [\"liver\", \"lesion\"], lesion = [\"lesion\"] }`. An instance is a connected part of these \
     labels on the target slice (pixels that touch at a corner are connected); parts below 4 pixels are left \
     out, and counted in `rejects`. When it is left out, each label, with the labels that it holds, is a \
     class.",
);

/// A kind of thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// The name of the kind.
    pub name: String,
    /// The names of the labels that things of the kind are made of.
    pub labels: Vec<String>,
}

/// Kinds of things, class 1 first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Things(pub Vec<Kind>);

impl Things {
    /// Returns what a stage's checked configuration declares.
    ///
    /// # Errors
    /// No kind at all, or one without labels.
    pub fn declared(config: &Config) -> Result<Option<Self>, FieldProblem> {
        let Some(Json::Object(table)) = config.get(INSTANCES.name) else { return Ok(None) };
        let texts = |labels: &Json| -> Vec<String> {
            labels
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect()
        };
        let kinds: Vec<Kind> =
            table.iter().map(|(name, labels)| Kind { name: name.clone(), labels: texts(labels) }).collect();
        let hint = "instances = { lesion = [\"lesion\"] }";
        if let Some(Kind { name, .. }) = kinds.iter().find(|kind| kind.labels.is_empty()) {
            let field = format!("{}.{name}", INSTANCES.name);
            return Err(FieldProblem::new(&field, "at least one label expected, none found", hint));
        }
        if kinds.is_empty() || kinds.len() > 255 {
            let message = format!("1 to 255 kinds of things expected, {} found", kinds.len());
            return Err(FieldProblem::new(INSTANCES.name, message, hint));
        }
        Ok(Some(Self(kinds)))
    }

    /// Each label as a kind of thing, with those that it holds (`nested`, by name).
    pub fn of_labels(names: &[String], nested: &[(String, Vec<String>)]) -> Self {
        let kind = |name: &String| {
            let held = nested.iter().filter(|(outer, _)| outer == name).flat_map(|(_, held)| held);
            Kind { name: name.clone(), labels: std::iter::once(name).chain(held).cloned().collect() }
        };
        Self(names.iter().map(kind).collect())
    }

    /// The names of kinds, class 1 first.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|kind| kind.name.clone()).collect()
    }

    /// Returns the same kinds by the numbers that labels of these names have.
    ///
    /// # Errors
    /// `UNKNOWN_LABEL` for a name that no label has.
    pub fn numbered(&self, names: &[String]) -> Result<Numbered, Reject> {
        let number = |label: &String| {
            let place =
                names.iter().position(|name| name == label).and_then(|place| u16::try_from(place + 1).ok());
            place.ok_or_else(|| {
                let message = format!("one of the labels {} expected, `{label}` found", names.join(", "));
                Reject::new("UNKNOWN_LABEL", message, "`instances` names the labels of the cases")
            })
        };
        let of_kind = |kind: &Kind| kind.labels.iter().map(number).collect::<Result<Vec<u16>, _>>();
        Ok(Numbered(self.0.iter().map(of_kind).collect::<Result<_, _>>()?))
    }
}

/// The labels that each kind of thing is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbered(Vec<Vec<u16>>);

impl Numbered {
    /// The labels of a class.
    pub fn labels(&self, class: u8) -> &[u16] {
        usize::from(class).checked_sub(1).and_then(|place| self.0.get(place)).map_or(&[], Vec::as_slice)
    }

    /// Whether any kind of thing is made of a label.
    pub fn are_made_of(&self, label: usize) -> bool {
        self.0.iter().flatten().any(|own| usize::from(*own) == label)
    }

    /// The things of a slice `[H, W]`, and how many parts were too small to be one.
    pub fn of_slice<L: Copy + Into<u16>>(&self, labels: &[L], size: [usize; 2]) -> (Vec<(u8, Part)>, usize) {
        let (mut things, mut small) = (Vec::new(), 0);
        for (class, own) in (1..).zip(&self.0) {
            if !labels.iter().any(|label| own.contains(&(*label).into())) {
                continue;
            }
            for part in parts(size, |pixel| own.contains(&labels[pixel].into())) {
                if part.pixels < LEAST_PIXELS {
                    small += 1;
                } else {
                    things.push((class, part));
                }
            }
        }
        (things, small)
    }

    /// The classes and bounds of the things of a scan's slice that are marked by boxes.
    pub fn marked_on(&self, boxes: &[DrawnBox], slice: usize) -> Vec<(u8, Bounds<2>)> {
        let mut things = Vec::new();
        for own in boxes.iter().filter(|own| own.slice as usize == slice) {
            let such = (1..).zip(&self.0).filter(|(_, labels)| labels.contains(&own.label));
            things.extend(such.map(|(class, _)| (class, Bounds { low: own.low, high: own.high })));
        }
        things
    }

    /// The things of a slice that are marked by boxes.
    pub fn marked<'b>(&self, boxes: impl Iterator<Item = &'b CaseBox>) -> Vec<Instance> {
        let edges = |depth: f32, [row, column]: [f32; 2]| [depth, row, column];
        let mut things = Vec::new();
        for own in boxes {
            for (class, _) in (1..).zip(&self.0).filter(|(_, labels)| labels.contains(&u16::from(own.label)))
            {
                let (low, high) = (edges(0.0, own.low), edges(1.0, own.high));
                things.push(Instance { class, low, high, mask: None });
            }
        }
        things
    }

    /// The things of a sample's slice, each with its pixels.
    pub fn instances(&self, labels: &[u8], size: [usize; 2]) -> Vec<Instance> {
        let edges = |depth: f32, [row, column]: [usize; 2]| [depth, row as f32, column as f32];
        let mut things = Vec::new();
        for (class, own) in (1..).zip(&self.0) {
            if !labels.iter().any(|label| own.contains(&u16::from(*label))) {
                continue;
            }
            let (parts, numbers) = numbered(size, |pixel| own.contains(&u16::from(labels[pixel])));
            let large = (1..).zip(parts).filter(|(_, part)| part.pixels >= LEAST_PIXELS);
            things.extend(large.map(|(number, part)| Instance {
                class,
                low: edges(0.0, part.low),
                high: edges(1.0, part.high),
                mask: Some(cut(&part, &numbers, number, size[1])),
            }));
        }
        things
    }
}

/// The pixels of a part of a plane that is so wide.
fn cut(part: &Part, numbers: &[u32], number: u32, width: usize) -> PlaneMask {
    let size = [0, 1].map(|axis| part.high[axis] - part.low[axis]);
    let row = |row: usize| numbers[row * width + part.low[1]..][..size[1]].iter().map(|own| *own == number);
    let pixels = (part.low[0]..part.high[0]).flat_map(row).collect();
    PlaneMask { start: part.low, size, pixels }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Vec<String> {
        ["liver", "lesion"].map(str::to_owned).to_vec()
    }

    #[test]
    fn kinds_may_hold_each_other() {
        let declared = json!({ "instances": { "liver": ["liver", "lesion"], "lesion": ["lesion"] } });
        let things = Things::declared(declared.as_object().unwrap()).unwrap().unwrap();
        assert_eq!(things, Things::of_labels(&names(), &[("liver".to_owned(), vec!["lesion".to_owned()])]));
        let kinds = things.numbered(&names()).unwrap();
        assert_eq!((kinds.labels(1), kinds.labels(2), kinds.labels(0)), (&[1, 2][..], &[2][..], &[][..]));
        #[rustfmt::skip]
        let slice = [
            1_u8, 1, 1, 0, 1,
            1, 2, 2, 0, 0,
            1, 2, 2, 0, 2,
        ];
        let (found, small) = kinds.of_slice(&slice, [3, 5]);
        let bounds: Vec<(u8, [usize; 2], [usize; 2])> =
            found.iter().map(|(class, part)| (*class, part.low, part.high)).collect();
        assert_eq!(bounds, [(1, [0, 0], [3, 3]), (2, [1, 1], [3, 3])]);
        // Two single pixels of the liver, one of them of a lesion.
        assert_eq!(small, 3);
        let instances = kinds.instances(&slice, [3, 5]);
        assert_eq!((instances[1].low, instances[1].high), ([0.0, 1.0, 1.0], [1.0, 3.0, 3.0]));
        let mask = instances[0].mask.as_ref().unwrap();
        assert_eq!((mask.start, mask.size), ([0, 0], [3, 3]));
        // The liver's part holds its lesion, and not the pixel apart.
        assert!(mask.pixels.iter().all(|inside| *inside) && mask.holds([2, 0]) && !mask.holds([0, 4]));
    }

    #[test]
    fn names_that_no_label_has_are_refused() {
        let declared = |value: Json| Things::declared(json!({ "instances": value }).as_object().unwrap());
        assert_eq!(declared(Json::Null).unwrap(), None);
        assert!(declared(json!({})).is_err() && declared(json!({ "lesion": [] })).is_err());
        let things = declared(json!({ "node": ["node"] })).unwrap().unwrap();
        assert_eq!(things.numbered(&names()).unwrap_err().code, "UNKNOWN_LABEL");
    }
}
