//! Which labels there are, and which values they have in their files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tomoflow_connectors::dicom::inspect::FoundImage;
use tomoflow_connectors::imagefile::read_image_head;

use super::described::Described;
use super::toml;
use crate::operators::registry::Registry;

/// Labels, each with the values that stand for it.
type NamedValues = Vec<(String, Vec<u16>)>;

/// Label files that are read for their values, where no description names them.
const READ: usize = 24;
/// Labels that are taken for such; more values are rather no labels.
const MOST: usize = 256;

/// Labels of files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Their names and values, in order.
    pub entries: Vec<(String, Vec<u16>)>,
    /// The value of voxels that nobody labelled.
    pub ignore: Option<u16>,
    /// The reasons why they are called so.
    pub why: Vec<String>,
    /// What was guessed.
    pub told: Vec<String>,
}

/// Labels that a description names.
pub fn described(described: &Described) -> Labels {
    let mut labels = Labels {
        entries: described.labels.clone(),
        ignore: described.ignore,
        why: vec!["Names and values are those of dataset.json.".to_owned()],
        ..Labels::default()
    };
    if let Some(told) = overlapping(&labels.entries) {
        labels.entries = shared_values(&labels.entries);
        labels.why.push(
            "Regions share values: the values that several of them share are a label of their own."
                .to_owned(),
        );
        labels.told.push(told);
        return labels;
    }
    // A map shows the innermost label: what holds others stands before them.
    if described.regions {
        labels.entries.sort_by_key(|(_, values)| std::cmp::Reverse(values.len()));
        let why = "Regions hold others: a voxel of both counts for both, and is scored for both.";
        labels.why.push(why.to_owned());
    }
    labels
}

/// A line on regions of which neither holds the other.
fn overlapping(entries: &[(String, Vec<u16>)]) -> Option<String> {
    let set = |values: &[u16]| values.iter().copied().collect::<BTreeSet<u16>>();
    entries.iter().enumerate().find_map(|(place, (name, values))| {
        let one = set(values);
        entries[place + 1..].iter().find_map(|(other_name, other)| {
            let other = set(other);
            let nested = one != other && (one.is_superset(&other) || one.is_subset(&other));
            (!one.is_disjoint(&other) && !nested).then(|| {
                format!(
                    "regions `{name}` and `{other_name}` share values and neither is a part of the other, which a label map \
                     cannot show: the values are labels of their own, called by the regions that have them, and no figure is \
                     of a region as a whole"
                )
            })
        })
    })
}

/// Labels that share no value: for the values of the same regions one, which these name.
fn shared_values(entries: &[(String, Vec<u16>)]) -> NamedValues {
    let mut regions: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (name, values) in entries {
        for value in values.iter().copied().collect::<BTreeSet<u16>>() {
            regions.entry(value).or_default().push(name);
        }
    }
    let mut labels: NamedValues = Vec::new();
    let mut places: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for (value, of) in regions {
        if let Some(&place) = places.get(&of) {
            labels[place].1.push(value);
            continue;
        }
        let mut name = of.join("_and_");
        while labels.iter().any(|(other, _)| *other == name) {
            name.push('_');
        }
        places.insert(of, labels.len());
        labels.push((name, vec![value]));
    }
    labels
}

/// The values of some of these label files, and how many files were read.
fn values_of(files: &[&FoundImage]) -> (BTreeSet<u16>, usize) {
    let known = |file: &&FoundImage| file.figures.as_ref()?.values.clone();
    let step = files.len().div_ceil(READ).max(1);
    let (mut values, mut read) = (BTreeSet::new(), 0);
    for file in files.iter().filter(|file| known(file).is_some()) {
        values.extend(known(file).unwrap_or_default());
        read += 1;
    }
    for file in files.iter().filter(|file| known(file).is_none()).step_by(step) {
        values.extend(values_in(&file.file));
        read += 1;
    }
    values.remove(&0);
    (values, read)
}

/// The values of a label file; none where it is not one.
fn values_in(file: &Path) -> BTreeSet<u16> {
    let head = std::path::absolute(file).and_then(|file| read_image_head(&file, |_| true));
    let figures = head.ok().flatten().and_then(Result::ok).and_then(|head| head.figures);
    figures.and_then(|figures| figures.values).unwrap_or_default()
}

/// Labels by the values of their files, as `known` names data sets whose files are called so.
pub fn of_values(files: &[&FoundImage], known: Known) -> Labels {
    let (values, read) = values_of(files);
    let mut labels = Labels::default();
    let of = if read < files.len() {
        format!("{read} of {} label files", files.len())
    } else {
        "all label files".to_owned()
    };
    let listed: Vec<String> = values.iter().take(8).map(ToString::to_string).collect();
    let more = if values.len() > 8 { ", …" } else { "" };
    if let Some((set, entries)) = known.named(&values) {
        labels.why.push(
            format!("As in {set}, whose files are called so. {}", regions_why(&entries)).trim().to_owned(),
        );
        labels.entries = entries;
        return labels;
    }
    if values.is_empty() || values.len() > MOST {
        labels.told.push(format!("no values of labels were found in {of}: they are empty, or no label maps"));
        return labels;
    }
    labels.why.push(format!("The values in {of} are {}{more}; give each its name.", listed.join(", ")));
    labels.told.push(format!(
        "labels have no names: `label_1`, … stand for the values {}{more} found in {of}",
        listed.join(", ")
    ));
    labels.entries = values.into_iter().map(|value| (format!("label_{value}"), vec![value])).collect();
    if let [(name, _)] = labels.entries.as_mut_slice() {
        "structure".clone_into(name);
        labels.told.pop();
        labels.told.push(format!(
            "the label has no name: `structure` stands for the value {} found in {of}",
            listed.join("")
        ));
    }
    labels
}

fn regions_why(entries: &[(String, Vec<u16>)]) -> &'static str {
    if entries.iter().any(|(_, values)| values.len() > 1) {
        "A lesion is a part of its organ, and scored as such."
    } else {
        ""
    }
}

/// Data sets that are known by the names of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// `volume-N`, `segmentation-N`: the Liver Tumor Segmentation Challenge.
    Lits,
    /// `CaseNN`, `CaseNN_segmentation`: Prostate MR Image Segmentation 2012.
    Promise12,
    /// `case_NNNNN/imaging`, `segmentation`: the Kidney Tumor Segmentation Challenge.
    Kits,
    /// `patientNNN_frameNN`, `_gt`: the Automated Cardiac Diagnosis Challenge.
    Acdc,
    /// `BraTS20…_seg`: the Brain Tumor Segmentation Challenge up to 2021, whose enhancing tumour is 4.
    Brats,
    /// `BraTS-GLI-…-seg`: its gliomas from 2023 on, whose enhancing tumour is 3.
    BratsGli,
    /// Any other data set.
    Other,
}

impl Known {
    /// Recognises a data set by the patterns of scans and labels.
    pub fn of(scans: &str, labels: &str, cases: &BTreeSet<String>) -> Self {
        let promise =
            |case: &String| case.strip_prefix("Case").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let numbered = |word: &'static str| move |case: &str| case.strip_prefix(word).is_some_and(is_number);
        let frame = |case: &str| {
            let parts = case.strip_prefix("patient").and_then(|rest| rest.split_once("_frame"));
            parts.is_some_and(|(patient, frame)| is_number(patient) && is_number(frame))
        };
        let all = |is: &dyn Fn(&str) -> bool| !cases.is_empty() && cases.iter().all(|case| is(case));
        match (scans, labels) {
            ("volume-{case}", "segmentation-{case}") => Self::Lits,
            ("{case}", "{case}_segmentation") if !cases.is_empty() && cases.iter().all(promise) => {
                Self::Promise12
            }
            ("imaging", "segmentation") if all(&numbered("case_")) => Self::Kits,
            ("{case}", "{case}_gt") if all(&frame) => Self::Acdc,
            (_, "{case}_seg") if all(&|case| case.starts_with("BraTS20")) => Self::Brats,
            (_, "{case}-seg") if all(&|case| case.starts_with("BraTS-GLI-")) => Self::BratsGli,
            _ => Self::Other,
        }
    }

    /// Returns what the data set is called.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Lits => Some("LiTS"),
            Self::Promise12 => Some("PROMISE12"),
            Self::Kits => Some("KiTS"),
            Self::Acdc => Some("ACDC"),
            Self::Brats | Self::BratsGli => Some("BraTS"),
            Self::Other => None,
        }
    }

    /// The modality of its scans.
    pub fn modality(self) -> Option<&'static str> {
        match self {
            Self::Lits | Self::Kits => Some("CT"),
            Self::Promise12 | Self::Acdc | Self::Brats | Self::BratsGli => Some("MR"),
            Self::Other => None,
        }
    }

    /// Its labels, where the values are theirs.
    fn named(self, values: &BTreeSet<u16>) -> Option<(&'static str, NamedValues)> {
        let (name, labels): (_, &[(&str, &[u16])]) = match self {
            Self::Lits => ("LiTS", &[("liver", &[1, 2]), ("lesion", &[2])]),
            Self::Promise12 => ("PROMISE12", &[("prostate", &[1])]),
            // Its first year had no cysts.
            Self::Kits if values.contains(&3) => {
                ("KiTS", &[("kidney", &[1]), ("tumor", &[2]), ("cyst", &[3])])
            }
            Self::Kits => ("KiTS", &[("kidney", &[1]), ("tumor", &[2])]),
            Self::Acdc => ("ACDC", &[("RV", &[1]), ("MLV", &[2]), ("LVC", &[3])]),
            Self::Brats => ("BraTS", &[("necrosis", &[1]), ("edema", &[2]), ("enhancing", &[4])]),
            Self::BratsGli => ("BraTS", &[("necrosis", &[1]), ("edema", &[2]), ("enhancing", &[3])]),
            Self::Other => return None,
        };
        let all: BTreeSet<u16> = labels.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        let owned = |(name, values): &(&str, &[u16])| ((*name).to_owned(), values.to_vec());
        (!values.is_empty() && values.is_subset(&all)).then(|| (name, labels.iter().map(owned).collect()))
    }
}

/// Labels that have a file each: those that every labelled case has.
pub fn of_structures(files: &[(String, String, &FoundImage)]) -> Labels {
    let mut labels = Labels::default();
    let mut by_name: BTreeMap<&str, Vec<&FoundImage>> = BTreeMap::new();
    let mut cases = BTreeSet::new();
    for (case, structure, file) in files {
        by_name.entry(structure).or_default().push(file);
        cases.insert(case);
    }
    let (mut rare, mut empty) = (Vec::new(), Vec::new());
    for (name, files) in by_name {
        if files.len() < cases.len() {
            rare.push(format!("{name} ({} of {})", files.len(), cases.len()));
            continue;
        }
        let (values, _) = values_of(&files);
        if values.is_empty() {
            empty.push(name.to_owned());
        }
        let values = if values.is_empty() { vec![1] } else { values.into_iter().collect() };
        labels.entries.push((name.to_owned(), values));
    }
    labels
        .why
        .push("Each label has a file of its own; voxels that are not 0 in it are the label.".to_owned());
    if !rare.is_empty() {
        labels.told.push(format!(
            "labels that not every case has a file of are left out, since nobody learns from a case that lacks one: {}",
            rare.join(", ")
        ));
    }
    if !empty.is_empty() {
        labels
            .told
            .push(format!("files of these labels are empty as far as they were read: {}", empty.join(", ")));
    }
    labels
}

impl Labels {
    /// The fields of a `label_images` source, and what they do not say.
    pub fn fields(&self, registry: &Registry) -> (Vec<(String, String)>, Option<String>) {
        let entries = self.entries.iter().map(|(name, values)| (name.as_str(), toml::list(values)));
        let mut fields = vec![("labels".to_owned(), toml::table(entries))];
        let Some(value) = self.ignore else { return (fields, None) };
        let knows = |name: &str| {
            let spec = registry.get("label_images").map(|entry| entry.spec);
            spec.is_some_and(|spec| spec.fields.iter().any(|field| field.name == name))
        };
        if knows("ignore") {
            fields.push(("ignore".to_owned(), toml::list([value])));
            return (fields, None);
        }
        fields.push(("background".to_owned(), toml::list([value])));
        let told = format!(
            "the value {value}, which dataset.json calls `ignore`, counts as background: nobody labelled such voxels"
        );
        (fields, Some(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(labels: &[(&str, &[u16])]) -> Vec<(String, Vec<u16>)> {
        labels.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect()
    }

    #[test]
    fn regions_stand_before_what_they_hold() {
        let brats = Described {
            labels: entries(&[("enhancing", &[3]), ("whole", &[1, 2, 3]), ("core", &[2, 3])]),
            regions: true,
            ..Described::default()
        };
        let found = described(&brats);
        let names: Vec<&str> = found.entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["whole", "core", "enhancing"]);
        assert!(found.told.is_empty());
        let crossed = Described { labels: entries(&[("a", &[1, 2]), ("b", &[2, 3])]), ..brats };
        let found = described(&crossed);
        assert_eq!(found.told.len(), 1);
        assert_eq!(found.entries, entries(&[("a", &[1]), ("a_and_b", &[2]), ("b", &[3])]));
        // Two names for one value are regions as well.
        let twice = Described { labels: entries(&[("a", &[1]), ("b", &[1])]), ..Described::default() };
        assert_eq!(described(&twice).entries, entries(&[("a_and_b", &[1])]));
    }

    #[test]
    fn known_sets_are_known_by_names_and_values() {
        let cases = BTreeSet::from(["Case00".to_owned()]);
        assert_eq!(Known::of("volume-{case}", "segmentation-{case}", &cases), Known::Lits);
        assert_eq!(Known::of("{case}", "{case}_segmentation", &cases), Known::Promise12);
        assert_eq!(Known::of("{case}", "{case}_segmentation", &BTreeSet::new()), Known::Other);
        let of = |scans: &str, labels: &str, case: &str| Known::of(scans, labels, &[case.to_owned()].into());
        assert_eq!(of("imaging", "segmentation", "case_00003"), Known::Kits);
        assert_eq!(of("imaging", "segmentation", "case_b"), Known::Other);
        assert_eq!(of("{case}", "{case}_gt", "patient001_frame12"), Known::Acdc);
        assert_eq!(of("{case}", "{case}_gt", "patient001"), Known::Other);
        assert_eq!(of("{case}_flair", "{case}_seg", "BraTS2021_00002"), Known::Brats);
        assert_eq!(of("{case}-t1c", "{case}-seg", "BraTS-GLI-00002-000"), Known::BratsGli);
        assert_eq!(of("{case}-t1c", "{case}-seg", "BraTS-PED-00002-000"), Known::Other);
        assert_eq!(Known::Kits.named(&BTreeSet::from([1, 2, 3])).unwrap().1.len(), 3);
        assert_eq!(Known::Kits.named(&BTreeSet::from([1, 2])).unwrap().1.len(), 2);
        assert!(Known::Brats.named(&BTreeSet::from([1, 2, 3])).is_none());
        assert!(Known::Lits.named(&BTreeSet::from([1, 2])).is_some());
        assert!(Known::Lits.named(&BTreeSet::from([1, 2, 7])).is_none());
    }
}
