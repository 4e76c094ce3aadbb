//! `dataset.json`, as nnU-Net and the Medical Segmentation Decathlon have it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tomoflow_connectors::reading;

use super::InitError;

/// The name of the file.
pub const NAME: &str = "dataset.json";
/// The name of nnU-Net's file of folds.
const SPLITS: &str = "splits_final.json";

/// What it says of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// The name of the layout that it follows.
    pub layout: &'static str,
    /// The names of the channels, from the first on.
    pub channels: Vec<String>,
    /// Labels and their values in the files, without background.
    pub labels: Vec<(String, Vec<u16>)>,
    /// The value of voxels that nobody labelled.
    pub ignore: Option<u16>,
    /// Whether labels share values.
    pub regions: bool,
    /// The file of folds, with how many there are.
    pub split: Option<(PathBuf, usize)>,
    /// The lines that say what of it is not taken.
    pub told: Vec<String>,
}

/// Reads the description of a folder; `None` where there is none of these.
///
/// # Errors
/// What is wrong with it.
pub fn read(root: &Path) -> Result<Option<Described>, InitError> {
    let path = root.join(NAME);
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |message: String, hint: &str| InitError::Description {
        path: path.clone(),
        message,
        hint: hint.to_owned(),
    };
    let bytes = reading::table(&path).map_err(|error| wrong(error.to_string(), "may it be read?"))?;
    let json: Value = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("JSON expected: {error}"), "mend or remove it"))?;
    let Some(labels) = json.get("labels").and_then(Value::as_object) else {
        let hint =
            "`labels = {\"background\": 0, \"liver\": 1}`; without the file labels are read from their files";
        return Err(wrong("a table `labels` expected, none found".to_owned(), hint));
    };
    let mut told = Vec::new();
    let decathlon = labels.keys().all(|key| key.parse::<u16>().is_ok());
    let mut described = Described {
        layout: if decathlon {
            "the Medical Segmentation Decathlon's layout"
        } else {
            "nnU-Net's raw layout"
        },
        channels: channels(&json),
        split: splits(root, &mut told),
        told,
        ..Described::default()
    };
    for (name, value) in labels {
        let found = match decathlon {
            true => value.as_str().zip(name.parse::<u16>().ok()).map(|(name, value)| (name, vec![value])),
            false => values(value).map(|values| (name.as_str(), values)),
        };
        let Some((name, values)) = found else {
            let hint = "labels have whole numbers, `\"liver\": 1`, or lists of them for regions, `\"liver\": [1, 2]`";
            return Err(wrong(format!("a label with its value expected, `{name}: {value}` found"), hint));
        };
        if name.trim().is_empty() {
            let hint = "a label without a name cannot be told from others: name it, or remove it";
            return Err(wrong(format!("a name for the label {values:?} expected, none found"), hint));
        }
        match values.as_slice() {
            _ if name.eq_ignore_ascii_case("background") => {}
            [value] if name == "ignore" && !decathlon => described.ignore = Some(*value),
            values if values.contains(&0) => {
                let hint = "0 is background";
                return Err(wrong(format!("values from 1 on expected, 0 found at `{name}`"), hint));
            }
            _ => described.labels.push((name.to_owned(), values)),
        }
    }
    let mut names = BTreeSet::new();
    if let Some((name, _)) = described.labels.iter().find(|(name, _)| !names.insert(name.as_str())) {
        let hint = "call each otherwise, or with nnU-Net give one label both values: `\"liver\": [1, 2]`";
        return Err(wrong(
            format!("a name of its own for each label expected, two are called `{name}`"),
            hint,
        ));
    }
    let ignored =
        |(_, values): &&(String, Vec<u16>)| described.ignore.is_some_and(|value| values.contains(&value));
    if let Some((name, _)) = described.labels.iter().find(ignored) {
        let hint = "a voxel that nobody labelled is of no label: take the value out of one of the two";
        return Err(wrong(format!("a value for `ignore` that no label has expected, `{name}` has it"), hint));
    }
    if described.labels.is_empty() {
        return Err(wrong("at least one label beside background expected".to_owned(), "name it in `labels`"));
    }
    described.regions = described.labels.iter().any(|(_, values)| values.len() > 1);
    Ok(Some(described))
}

fn values(value: &Value) -> Option<Vec<u16>> {
    let one = |value: &Value| value.as_u64().and_then(|value| u16::try_from(value).ok());
    match value {
        Value::Array(values) if !values.is_empty() => {
            let values: Option<BTreeSet<u16>> = values.iter().map(one).collect();
            Some(values?.into_iter().collect())
        }
        value => one(value).map(|value| vec![value]),
    }
}

fn channels(json: &Value) -> Vec<String> {
    let named = json.get("channel_names").or_else(|| json.get("modality")).and_then(Value::as_object);
    let numbered =
        |(number, name): (&String, &Value)| Some((number.parse::<u32>().ok()?, name.as_str()?.to_owned()));
    let mut channels: Vec<(u32, String)> = named.into_iter().flatten().filter_map(numbered).collect();
    channels.sort();
    channels.into_iter().map(|(_, name)| name).collect()
}

/// A fold of nnU-Net's file.
#[derive(Deserialize)]
struct Fold {
    train: Vec<String>,
    val: Vec<String>,
}

/// The file of folds: in the folder, or where nnU-Net keeps it. A line says why one that is there is not taken.
fn splits(root: &Path, told: &mut Vec<String>) -> Option<(PathBuf, usize)> {
    let own = root.join(SPLITS);
    let nnunet = root.parent().and_then(Path::parent).zip(root.file_name());
    let preprocessed = nnunet.map(|(above, name)| above.join("nnUNet_preprocessed").join(name).join(SPLITS));
    let there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();
    for path in [Some(own), preprocessed].into_iter().flatten().filter(there) {
        match folds(&path) {
            Ok(folds) => return Some((path, folds)),
            Err(why) => told.push(format!("{SPLITS} is not taken, and patients are dealt by a hash: {why}")),
        }
    }
    None
}

/// Counts the folds of a file.
fn folds(path: &Path) -> Result<usize, String> {
    let bytes = reading::table(path).map_err(|error| error.to_string())?;
    let folds: Vec<Fold> = serde_json::from_slice(&bytes)
        .map_err(|error| format!("a list of {{ \"train\": […], \"val\": […] }} expected: {error}"))?;
    match folds.first() {
        None => Err("at least one fold expected, none found".to_owned()),
        Some(Fold { train, .. }) if train.is_empty() => Err("fold 0 trains on nobody".to_owned()),
        Some(Fold { train, val }) => match val.iter().find(|name| train.contains(name)) {
            Some(name) => Err(format!("fold 0 trains on `{name}` and validates on it")),
            None => Ok(folds.len()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Option<Described>, InitError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), text).unwrap();
        std::fs::write(
            folder.path().join(SPLITS),
            r#"[{"train":["a"],"val":["b"]},{"train":["b"],"val":["a"]}]"#,
        )
        .unwrap();
        read(folder.path())
    }

    #[test]
    fn both_layouts_are_understood() {
        let decathlon =
            r#"{"modality":{"0":"MRI"},"labels":{"0":"background","1":"Anterior","2":"Posterior"}}"#;
        let found = described(decathlon).unwrap().unwrap();
        assert_eq!(found.labels, [("Anterior".to_owned(), vec![1]), ("Posterior".to_owned(), vec![2])]);
        assert_eq!((found.channels.as_slice(), found.regions), (&["MRI".to_owned()][..], false));
        let nnunet = r#"{"channel_names":{"1":"T2","0":"T1"},"numTraining":2,"file_ending":".nii.gz",
            "labels":{"background":0,"liver":[1,2],"lesion":[2],"ignore":3},"regions_class_order":[1,2]}"#;
        let found = described(nnunet).unwrap().unwrap();
        assert_eq!(found.labels, [("liver".to_owned(), vec![1, 2]), ("lesion".to_owned(), vec![2])]);
        assert_eq!((found.ignore, found.regions), (Some(3), true));
        assert_eq!(found.channels, ["T1", "T2"]);
        assert_eq!(found.split.unwrap().1, 2);
    }

    #[test]
    fn a_file_of_folds_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), r#"{"labels":{"background":0,"liver":1}}"#).unwrap();
        for (text, why) in [
            ("[{", "expected"),
            (r#"{"train":["a"]}"#, "a list of"),
            ("[]", "none found"),
            (r#"[{"train":[],"val":["a"]}]"#, "on nobody"),
            (r#"[{"train":["a"],"val":["a"]}]"#, "`a`"),
        ] {
            std::fs::write(folder.path().join(SPLITS), text).unwrap();
            let found = read(folder.path()).unwrap().unwrap();
            assert!(found.split.is_none() && found.told.len() == 1, "{found:?}");
            assert!(found.told[0].contains(why), "{:?}", found.told);
        }
        // A file that is no ordinary one is not waited for.
        std::fs::remove_file(folder.path().join(SPLITS)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join(SPLITS)).unwrap();
        let found = read(folder.path()).unwrap().unwrap();
        assert!(found.split.is_none() && found.told.len() == 1, "{found:?}");
    }

    #[test]
    fn what_is_no_description_is_named() {
        for (text, word) in [
            ("{", "JSON"),
            ("{}", "labels"),
            (r#"{"labels":{"background":0}}"#, "beside background"),
            (r#"{"labels":{"liver":"one"}}"#, "liver"),
            (r#"{"labels":{"liver":-1}}"#, "liver"),
            (r#"{"labels":{"liver":[0,1]}}"#, "0 found"),
            (r#"{"labels":{"0":"background","1":"a","2":"a"}}"#, "two are called `a`"),
            (r#"{"labels":{"0":"background","1":"a","2":" "}}"#, "none found"),
            (r#"{"labels":{"a":[1,3],"ignore":3}}"#, "`a` has it"),
        ] {
            let error = described(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(read(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
