//! Which files of a folder are labels of which scans, as far as their names say: `imagesTr` and `labelsTr`, `x_seg`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::bids::{Made, Originals};

/// The role of a volume among others, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A scan, and whether there are labels of it; `None` where no scan of its folder has any.
    Scan {
        /// Whether there are labels of it.
        labelled: Option<bool>,
    },
    /// Labels of the scans at these places of the list; of none where none is found.
    Labels {
        /// The places of the scans.
        of: Vec<usize>,
    },
}

/// The names of folders of labels; `labelsTr` is one as well.
const FOLDERS: [&str; 9] = [
    "labels",
    "label",
    "masks",
    "mask",
    "segmentations",
    "segmentation",
    "segs",
    "annotations",
    "groundtruth",
];
/// The endings that follow such a word in the name of a folder, and follow `images` in that of its scans.
const PARTS: [&str; 5] = ["", "tr", "ts", "va", "val"];
/// The words that the names of labels end in or begin with, apart from the rest by one of [`SIGNS`].
const WORDS: [&str; 7] = ["seg", "segmentation", "label", "labels", "mask", "masks", "gt"];
const SIGNS: [char; 3] = ['_', '-', '.'];
/// The number of folders above a file that may say something of it.
const LEVELS: usize = 8;
/// The endings that say the format.
const ENDINGS: [&str; 8] = [".nii.gz", ".hdr.gz", ".nii", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr"];

/// The role of each of these files among the others.
pub fn pairs(paths: &[PathBuf]) -> Vec<Role> {
    let mut names: Vec<Named> = paths.iter().map(|path| Named::new(path)).collect();
    called_by_a_word(&mut names);
    let mut scans = Scans::default();
    for (index, name) in names.iter().enumerate().filter(|(_, name)| name.labels.is_none()) {
        scans.add(index, name);
    }
    let of = |name: &Named| name.labels.as_ref().map(|labels| scans.all_of(name, labels));
    let found: Vec<Option<Vec<usize>>> = names.iter().map(of).collect();
    let labelled: BTreeSet<usize> = found.iter().flatten().flatten().copied().collect();
    let folder = |index: &usize| paths.get(*index).and_then(|path| path.parent());
    let folders: BTreeSet<Option<&Path>> = labelled.iter().map(folder).collect();
    let role = |(index, found): (usize, Option<Vec<usize>>)| match found {
        Some(of) => Role::Labels { of },
        None => {
            let known = folders.contains(&folder(&index));
            Role::Scan { labelled: known.then(|| labelled.contains(&index)) }
        }
    };
    found.into_iter().enumerate().map(role).collect()
}

/// A file's name, and what it says of labels.
struct Named {
    folder: PathBuf,
    stem: String,
    labels: Option<Said>,
    /// What it asks of its scan, of labels below `derivatives`.
    made: Option<Made>,
}

/// The way a name says that it is of labels.
enum Said {
    /// A folder, whose name ends so.
    Folder(Around, &'static str),
    /// A word behind the name of its scan.
    Behind(String),
    /// A word before what it has in common with its scan.
    Before(String),
    /// A word alone, beside the one scan of its folder.
    Beside,
    /// The last part of a name below `derivatives`.
    Made,
}

/// Marks files that are called `mask` or `segmentation` and nothing else as labels, where one scan lies
/// beside them.
fn called_by_a_word(names: &mut [Named]) {
    let is_word = |name: &Named| WORDS.iter().any(|known| name.stem.eq_ignore_ascii_case(known));
    let mut scans: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for name in names.iter().filter(|name| name.labels.is_none() && !is_word(name)) {
        *scans.entry(name.folder.clone()).or_default() += 1;
    }
    for name in names.iter_mut().filter(|name| name.labels.is_none()) {
        if is_word(name) && scans.get(&name.folder) == Some(&1) {
            name.labels = Some(Said::Beside);
        }
    }
}

/// The place of a folder: what it lies in, and the way from it to the file's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Around {
    above: PathBuf,
    below: PathBuf,
}

impl Named {
    fn new(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let small = name.to_ascii_lowercase();
        let ending = ENDINGS.iter().find(|ending| small.ends_with(**ending)).map_or(0, |ending| ending.len());
        let stem = name.get(..name.len() - ending).unwrap_or(&name).to_owned();
        let made = Made::of(&folder, &stem);
        let labels = said(&folder, &stem).or_else(|| made.is_some().then_some(Said::Made));
        Self { folder, stem, labels, made }
    }
}

/// The nearest folders that a file lies in, by their names in small letters.
fn folders(folder: &Path) -> impl Iterator<Item = (String, Around)> {
    folder.ancestors().take(LEVELS).filter_map(move |at| {
        let name = at.file_name()?.to_string_lossy().to_ascii_lowercase();
        let below = folder.strip_prefix(at).ok()?.to_owned();
        Some((name, Around { above: at.parent()?.to_owned(), below }))
    })
}

fn said(folder: &Path, stem: &str) -> Option<Said> {
    // The nearest folder counts.
    let by_folder = folders(folder).find_map(|(name, around)| {
        let part = FOLDERS.iter().find_map(|word| {
            let rest = name.strip_prefix(word)?;
            PARTS.into_iter().find(|part| *part == rest)
        })?;
        Some(Said::Folder(around, part))
    });
    by_folder.or_else(|| without_word(stem).map(Said::Behind)).or_else(|| {
        let (word, rest) = stem.split_once(SIGNS)?;
        let is_word = WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
        (is_word && !rest.is_empty()).then(|| Said::Before(rest.to_owned()))
    })
}

/// The rest of a stem without its word: `x` of `x_seg`.
fn without_word(stem: &str) -> Option<String> {
    let (rest, word) = stem.rsplit_once(SIGNS)?;
    let is_word = WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
    (is_word && !rest.is_empty()).then(|| rest.to_owned())
}

/// The rest of a stem that is one of several channels: `x` of `x_0001`.
fn without_channel(stem: &str) -> Option<&str> {
    let (rest, number) = stem.rsplit_once('_')?;
    (number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

/// The scans, by what may name them.
#[derive(Default)]
struct Scans {
    /// The scans by a folder's place and the stem, with the folder's name.
    beside: BTreeMap<(Around, String), Vec<(usize, String)>>,
    /// The scans by their folder and stem.
    within: BTreeMap<PathBuf, BTreeMap<String, Vec<usize>>>,
    /// The scans of which `derivatives` may hold labels.
    originals: Originals,
}

impl Scans {
    fn add(&mut self, index: usize, name: &Named) {
        let stems = std::iter::once(name.stem.as_str()).chain(without_channel(&name.stem));
        for stem in stems {
            for (folder, around) in folders(&name.folder) {
                self.beside.entry((around, stem.to_owned())).or_default().push((index, folder));
            }
        }
        let within = self.within.entry(name.folder.clone()).or_default();
        within.entry(name.stem.clone()).or_default().push(index);
        self.originals.add(index, &name.folder, &name.stem);
    }

    /// The scans that labels are of: by what says that they are labels, and else as names below `derivatives` ask.
    fn all_of(&self, name: &Named, said: &Said) -> Vec<usize> {
        let found = self.of(name, said);
        match &name.made {
            Some(made) if found.is_empty() => self.originals.of(made),
            _ => found,
        }
    }

    /// The scans that labels of this name are of.
    fn of(&self, name: &Named, said: &Said) -> Vec<usize> {
        match said {
            Said::Folder(around, part) => {
                let stems = std::iter::once(name.stem.clone()).chain(without_word(&name.stem));
                for stem in stems {
                    let found = self.beside.get(&(around.clone(), stem));
                    let fits = |(_, folder): &&(usize, String)| {
                        part.is_empty() || folder.strip_prefix("images") == Some(*part)
                    };
                    let found: Vec<usize> =
                        found.into_iter().flatten().filter(fits).map(|(index, _)| *index).collect();
                    if !found.is_empty() {
                        return found;
                    }
                }
                // A folder of structures lies within that of a single scan.
                let within = self.within.get(&around.above);
                let found: Vec<usize> =
                    within.into_iter().flat_map(BTreeMap::values).flatten().copied().collect();
                if found.len() == 1 { found } else { Vec::new() }
            }
            Said::Made => Vec::new(),
            Said::Beside => {
                let within = self.within.get(&name.folder);
                within.into_iter().flat_map(BTreeMap::values).flatten().copied().collect()
            }
            Said::Behind(stem) => {
                let Some(within) = self.within.get(&name.folder) else { return Vec::new() };
                if let Some(exact) = within.get(stem) {
                    return exact.clone();
                }
                // The channels of one case are named like `x_t1` and `x_t2`, its labels `x_seg`.
                let channels = within.range(stem.clone()..).take_while(|(other, _)| other.starts_with(stem));
                let of =
                    channels.filter(|(other, _)| other.get(stem.len()..).unwrap_or("").starts_with(SIGNS));
                of.flat_map(|(_, found)| found.iter().copied()).collect()
            }
            Said::Before(rest) => {
                let Some(within) = self.within.get(&name.folder) else { return Vec::new() };
                let fits = |stem: &str| {
                    stem == rest || stem.split_once(SIGNS).is_some_and(|(_, other)| other == rest)
                };
                let of = within.iter().filter(|(stem, _)| fits(stem));
                of.flat_map(|(_, found)| found.iter().copied()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The role of each file: `-` a scan of which nothing is known, `+` one with labels, `0` one without, or
    /// its scans.
    fn roles(names: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        let word = |role: Role| match role {
            Role::Scan { labelled: None } => "-".to_owned(),
            Role::Scan { labelled: Some(true) } => "+".to_owned(),
            Role::Scan { labelled: Some(false) } => "0".to_owned(),
            Role::Labels { of } => of.iter().map(|&index| names[index]).collect::<Vec<_>>().join(" "),
        };
        pairs(&paths).into_iter().map(word).collect()
    }

    #[test]
    fn folders_of_images_and_labels_are_pairs() {
        let found = roles(&[
            "d/imagesTr/a_0000.nii.gz",
            "d/imagesTr/a_0001.nii.gz",
            "d/imagesTr/b_0000.nii.gz",
            "d/imagesTs/a_0000.nii.gz",
            "d/labelsTr/a.nii.gz",
            "d/labelsTr/c.nii.gz",
        ]);
        assert_eq!(found, ["+", "+", "0", "-", "d/imagesTr/a_0000.nii.gz d/imagesTr/a_0001.nii.gz", ""]);
        let found = roles(&["x/scans/p/1.mha", "x/Masks/p/1.nrrd", "x/scans/p/2.mha", "x/Masks/p/3_seg.mha"]);
        assert_eq!(found, ["+", "x/scans/p/1.mha", "0", ""]);
    }

    #[test]
    fn words_in_names_are_pairs() {
        let found = roles(&[
            "Case00.mhd",
            "Case00_segmentation.mhd",
            "volume-3.nii",
            "segmentation-3.nii",
            "b/x_t1.nii.gz",
            "b/x_t2.nii.gz",
            "b/x_seg.nii.gz",
            "b/y.nii.gz",
            "b/y2.nii.gz",
            "b/y-label.nrrd",
        ]);
        let both = "b/x_t1.nii.gz b/x_t2.nii.gz";
        assert_eq!(found, ["+", "Case00.mhd", "+", "volume-3.nii", "+", "+", both, "+", "0", "b/y.nii.gz"]);
    }

    #[test]
    fn structures_in_a_folder_of_their_own_are_of_the_scan_above() {
        let found =
            roles(&["s1/ct.nii.gz", "s1/segmentations/liver.nii.gz", "s2/segmentations/liver.nii.gz"]);
        assert_eq!(found, ["+", "s1/ct.nii.gz", ""]);
    }

    #[test]
    fn a_word_alone_is_labels_beside_one_scan() {
        let found =
            roles(&["c1/imaging.nii.gz", "c1/segmentation.nii.gz", "c2/t1.nii", "c2/t2.nii", "c2/mask.nii"]);
        assert_eq!(found, ["+", "c1/imaging.nii.gz", "-", "-", "-"]);
    }

    #[test]
    fn labels_below_derivatives_are_of_the_scans_beside_it() {
        let found = roles(&[
            "v/rawdata/sub-verse004/sub-verse004_ct.nii.gz",
            "v/derivatives/sub-verse004/sub-verse004_seg-vert_msk.nii.gz",
            "b/sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
            "b/sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz",
            "b/derivatives/manual/sub-01/ses-02/anat/sub-01_ses-02_label-lesion_mask.nii.gz",
            "b/derivatives/labels/sub-01/ses-01/anat/sub-01_ses-01_T1w_lesion-mask.nii.gz",
            "b/derivatives/prep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        ]);
        let [first, second] =
            [1, 2].map(|ses| format!("b/sub-01/ses-0{ses}/anat/sub-01_ses-0{ses}_T1w.nii.gz"));
        let verse = "v/rawdata/sub-verse004/sub-verse004_ct.nii.gz";
        assert_eq!(found, ["+", verse, "+", "+", &*second, &*first, "-"]);
    }

    #[test]
    fn names_without_words_are_scans() {
        assert_eq!(roles(&["a.nii", "b/a.nii", "label.nii", "unmasked.nii", "_seg.nii"]), ["-"; 5]);
    }
}
