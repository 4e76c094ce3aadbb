//! How the names of weights in a file become those of a network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the names of weights in a file become those of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Declared", into = "Declared")]
pub enum Names {
    /// The names are the same.
    #[default]
    Same,
    /// The names are those of torchvision's residual networks and detectors, of any version.
    Torchvision,
    /// A prefix of the file's is one of the network's; of several that fit the longest counts.
    Prefixes(BTreeMap<String, String>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Declared {
    Word(Word),
    Table(BTreeMap<String, String>),
    None(()),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Torchvision,
}

impl From<Declared> for Names {
    fn from(declared: Declared) -> Self {
        match declared {
            Declared::Word(Word::Torchvision) => Self::Torchvision,
            Declared::Table(prefixes) if !prefixes.is_empty() => Self::Prefixes(prefixes),
            Declared::Table(_) | Declared::None(()) => Self::Same,
        }
    }
}

impl From<Names> for Declared {
    fn from(names: Names) -> Self {
        match names {
            Names::Same => Self::None(()),
            Names::Torchvision => Self::Word(Word::Torchvision),
            Names::Prefixes(prefixes) => Self::Table(prefixes),
        }
    }
}

/// The place of a residual network's own tensors in a detector.
const BODY: &str = "backbone.body.";

impl Names {
    /// The network's name of a tensor of the file.
    pub(super) fn own(&self, name: &str) -> String {
        match self {
            Self::Same => name.to_owned(),
            Self::Torchvision => torchvision(name),
            Self::Prefixes(prefixes) => {
                let fits = prefixes.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
                match fits.max_by_key(|(prefix, _)| prefix.len()) {
                    Some((prefix, own)) => format!("{own}{}", &name[prefix.len()..]),
                    None => name.to_owned(),
                }
            }
        }
    }

    /// A prefix that no name has: it was meant otherwise.
    pub(super) fn unmet<'a>(&self, names: impl Iterator<Item = &'a String> + Clone) -> Option<&str> {
        let Self::Prefixes(prefixes) = self else { return None };
        let met = |prefix: &str| names.clone().any(|name| name.starts_with(prefix));
        prefixes.keys().map(String::as_str).find(|prefix| !met(prefix))
    }

    /// Returns what results depend on.
    pub(super) fn said(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A classifier's layers are a detector's body; detectors of earlier versions had one name less for a layer.
fn torchvision(name: &str) -> String {
    let of_body = ["conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."];
    if of_body.iter().any(|prefix| name.starts_with(prefix)) {
        return format!("{BODY}{name}");
    }
    let Some((layer, last @ ("weight" | "bias"))) = name.rsplit_once('.') else { return name.to_owned() };
    let numbered = |list: &str| {
        let number = layer.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if numbered("backbone.fpn.inner_blocks") || numbered("backbone.fpn.layer_blocks") {
        return format!("{layer}.0.{last}");
    }
    if layer == "rpn.head.conv" {
        return format!("{layer}.0.0.{last}");
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvisions_names_of_any_version_are_a_detectors() {
        for (name, own) in [
            ("conv1.weight", "backbone.body.conv1.weight"),
            ("bn1.running_mean", "backbone.body.bn1.running_mean"),
            ("layer4.2.bn3.bias", "backbone.body.layer4.2.bn3.bias"),
            ("fc.weight", "fc.weight"),
            ("backbone.body.conv1.weight", "backbone.body.conv1.weight"),
            ("backbone.fpn.inner_blocks.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
            ("backbone.fpn.layer_blocks.3.bias", "backbone.fpn.layer_blocks.3.0.bias"),
            ("backbone.fpn.inner_blocks.0.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
            ("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
            ("rpn.head.conv.0.0.bias", "rpn.head.conv.0.0.bias"),
            ("rpn.head.cls_logits.bias", "rpn.head.cls_logits.bias"),
            ("roi_heads.box_head.fc6.weight", "roi_heads.box_head.fc6.weight"),
        ] {
            assert_eq!(Names::Torchvision.own(name), own);
        }
    }

    #[test]
    fn the_longest_prefix_counts_and_one_of_nothing_is_told() {
        let names: Names = serde_json::from_str(r#"{ "a.": "x.", "a.b.": "y.", "": "all." }"#).unwrap();
        let own = ["a.c", "a.b.c", "d"].map(|name| names.own(name));
        assert_eq!(own, ["x.c", "y.c", "all.d"]);
        let file = ["a.c".to_owned(), "d".to_owned()];
        assert_eq!(names.unmet(file.iter()), Some("a.b."));
        for (text, names) in
            [("null", Names::Same), ("{}", Names::Same), ("\"torchvision\"", Names::Torchvision)]
        {
            assert_eq!(serde_json::from_str::<Names>(text).unwrap(), names);
        }
        assert_eq!(serde_json::to_string(&names).unwrap(), r#"{"":"all.","a.":"x.","a.b.":"y."}"#);
    }
}
