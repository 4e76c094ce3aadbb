//! Names of files to patterns: what scans and labels of one case have in common, and what differs between cases.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tomoflow_connectors::imagefile::{in_common, is_made};

/// Endings that say the format, the longer ones first.
const ENDINGS: [&str; 9] =
    [".seg.nrrd", ".nii.gz", ".hdr.gz", ".nii", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr"];
/// Signs that part a name.
const SIGNS: [char; 3] = ['_', '-', '.'];
/// Words that names of labels begin with, end in, or are.
const WORDS: [&str; 7] = ["seg", "segmentation", "label", "labels", "mask", "masks", "gt"];
/// Ends of names that are left out, at most.
const ENDS: usize = 8;
/// The beginnings of names of folders that hold all scans of a patient.
const PATIENTS: [&str; 4] = ["sub-", "patient", "pat_", "subject"];

/// What names of labels say: the case, and the structure where each has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The case.
    pub case: String,
    /// The structure.
    pub structure: Option<String>,
}

/// A name without its ending, and the ending.
pub fn split(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let small = name.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|ending| small.ends_with(**ending)).map_or(0, |ending| ending.len());
    let at = name.len() - ending;
    match (name.get(..at), name.get(at..)) {
        (Some(stem), Some(ending)) if !stem.is_empty() => (stem.to_owned(), ending.to_owned()),
        _ => (name, String::new()),
    }
}

fn is_word(word: &str) -> bool {
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns `x` of `x_0001`, which is one of several channels.
pub fn without_channel(stem: &str) -> Option<&str> {
    let (rest, number) = stem.rsplit_once('_')?;
    (number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty())
        .then_some(rest)
}

/// Returns what the names of labels and of their scan have in common, both below the same folder.
pub fn common(scan: &Path, label: &Path) -> Option<Called> {
    let (scan_stem, label_stem) = (split(scan).0, split(label).0);
    let of = |case: &str| Some(Called { case: case.to_owned(), structure: None });
    let behind = label_stem.rsplit_once(SIGNS).filter(|(rest, word)| is_word(word) && !rest.is_empty());
    let cores = [Some(label_stem.as_str()), behind.map(|(rest, _)| rest)];
    for core in cores.into_iter().flatten() {
        let longer =
            scan_stem.strip_prefix(core).is_some_and(|rest| rest.is_empty() || rest.starts_with(SIGNS));
        if longer {
            return of(core);
        }
    }
    if is_made(label)
        && let Some(case) = in_common(&scan_stem, &label_stem)
    {
        return of(&case);
    }
    let before = label_stem.split_once(SIGNS).filter(|(word, rest)| is_word(word) && !rest.is_empty());
    if let Some((_, rest)) = before
        && (scan_stem == rest || scan_stem.split_once(SIGNS).is_some_and(|(_, other)| other == rest))
    {
        return of(rest);
    }
    let (scan_in, label_in) = (scan.parent()?, label.parent()?);
    let folder = scan_in.file_name()?.to_str()?.to_owned();
    if label_in == scan_in {
        return is_word(&label_stem).then_some(Called { case: folder, structure: None });
    }
    label_in.starts_with(scan_in).then_some(Called { case: folder, structure: Some(label_stem) })
}

/// A file's path with the case and the structure in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    folders: Vec<String>,
    stem: String,
    ending: String,
}

impl Template {
    /// Makes the template of a path below the source's folder; `None` where the case stands nowhere in it.
    pub fn of(path: &Path, called: &Called) -> Option<Self> {
        let (stem, ending) = split(path);
        let folders = path.parent()?.iter().map(|folder| {
            let folder = folder.to_string_lossy();
            if *folder == called.case { "{case}".to_owned() } else { plain(&folder) }
        });
        let folders: Vec<String> = folders.collect();
        let stem = match &called.structure {
            Some(structure) if *structure == stem => "{label}".to_owned(),
            _ => with_case(&stem, &called.case).unwrap_or_else(|| plain(&stem)),
        };
        let named = stem.contains("{case}") || folders.iter().any(|folder| folder == "{case}");
        named.then_some(Self { folders, stem, ending })
    }

    /// Returns what files of one kind have in common: the name without folders, `.nii` packed or not.
    /// Patterns know capitals.
    fn kind(&self) -> (String, String) {
        (self.stem.clone(), unpacked(&self.ending).to_owned())
    }
}

/// An ending without what says that the file is packed.
fn unpacked(ending: &str) -> &str {
    let packed = ending.to_ascii_lowercase().ends_with(".gz");
    ending.len().checked_sub(3).filter(|_| packed).and_then(|at| ending.get(..at)).unwrap_or(ending)
}

/// A name with signs that patterns read otherwise replaced by `?`.
pub fn plain(name: &str) -> String {
    name.chars().map(|letter| if "{}*?!".contains(letter) { '?' } else { letter }).collect()
}

/// A stem with the case, where it stands apart from other letters, in braces.
fn with_case(stem: &str, case: &str) -> Option<String> {
    let apart = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
    let places = stem.match_indices(case).map(|(at, _)| (&stem[..at], &stem[at + case.len()..]));
    let mut places =
        places.filter(|(before, after)| apart(before.chars().next_back()) && apart(after.chars().next()));
    let (before, after) = places.next()?;
    Some(format!("{}{{case}}{}", plain(before), plain(after)))
}

/// A pattern, and the files that gave it by their place in what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The pattern as `files` takes it.
    pub text: String,
    /// Its name without folders and ending.
    pub stem: String,
    /// The files.
    pub members: Vec<usize>,
}

/// Patterns for files, that of the most files first.
pub fn patterns(templates: &[Option<Template>]) -> Vec<Pattern> {
    let mut kinds: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, template) in templates.iter().enumerate() {
        if let Some(template) = template {
            kinds.entry(template.kind()).or_default().push(index);
        }
    }
    let mut patterns: Vec<Pattern> = kinds
        .into_iter()
        .map(|((stem, _), members)| {
            let of: Vec<&Template> = members.iter().filter_map(|&index| templates[index].as_ref()).collect();
            Pattern { text: together(&of), stem, members }
        })
        .collect();
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.members.len()));
    patterns
}

/// Takes patterns of the same name whose files have another ending and are of other cases, as `case` says, to the first
/// such pattern; what is taken stands by the text of the one that took it.
pub fn other_endings(
    patterns: Vec<Pattern>,
    case: impl Fn(usize) -> String,
) -> (Vec<Pattern>, BTreeMap<String, Vec<String>>) {
    let mut kept: Vec<(Pattern, BTreeSet<String>)> = Vec::new();
    let mut taken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pattern in patterns {
        let cases: BTreeSet<String> = pattern.members.iter().map(|&member| case(member)).collect();
        let fits = |(other, of): &&mut (Pattern, BTreeSet<String>)| {
            other.stem == pattern.stem && of.is_disjoint(&cases)
        };
        match kept.iter_mut().find(fits) {
            Some((other, of)) => {
                taken.entry(other.text.clone()).or_default().push(pattern.text);
                other.members.extend(pattern.members);
                of.extend(cases);
            }
            None => kept.push((pattern, cases)),
        }
    }
    let mut kept: Vec<Pattern> = kept.into_iter().map(|(pattern, _)| pattern).collect();
    kept.sort_by_key(|pattern| std::cmp::Reverse(pattern.members.len()));
    (kept, taken)
}

/// Patterns that leave these files out by how their names end; none where names of others end so.
pub fn by_end<'p>(files: impl Iterator<Item = &'p Path>, others: &[&Path]) -> Vec<String> {
    let end = |path: &Path| {
        let (stem, ending) = split(path);
        match stem.rfind(SIGNS) {
            Some(at) => format!("*{}{ending}", plain(&stem[at..])),
            None => format!("{}{ending}", plain(&stem)),
        }
    };
    let ends: BTreeSet<String> = files.map(end).collect();
    let shared = others.iter().any(|path| ends.contains(&end(path)));
    if shared || ends.len() > ENDS {
        Vec::new()
    } else {
        ends.iter().map(|end| format!("!**/{end}")).collect()
    }
}

/// Patterns that differ in one word alone, as one pattern with `{channel}` in its place, and the words in their order.
pub fn channels(patterns: &[Pattern]) -> Option<(String, Vec<String>)> {
    let texts: Vec<&str> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
    let first = texts.first().filter(|_| texts.len() > 1)?;
    let apart = |letter: char| !letter.is_alphanumeric();
    let same = |at: usize| texts.iter().all(|text| text.as_bytes().get(at) == first.as_bytes().get(at));
    let shared = (0..first.len()).take_while(|at| same(*at)).count();
    // Words begin and end where no letter is.
    let head = first
        .get(..shared)?
        .rfind(apart)
        .map_or(0, |at| at + first[at..].chars().next().map_or(1, char::len_utf8));
    let same_end = |at: &usize| {
        let end = |text: &str| text.as_bytes().get(text.len().checked_sub(at + 1)?).copied();
        texts.iter().all(|text| end(text) == end(first))
    };
    let shared = (0..first.len() - head).take_while(same_end).count();
    let tail = first.get(first.len() - shared..)?;
    let tail = tail.find(apart).map_or("", |at| &tail[at..]);
    let word = |text: &&str| {
        let word = text.get(head..text.len().checked_sub(tail.len())?)?;
        (!word.is_empty() && !word.contains(['{', '}', '*', '/', '?'])).then(|| word.to_owned())
    };
    let words: Vec<String> = texts.iter().map(word).collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = words.iter().collect();
    // Endings are no channels.
    let in_ending = texts.iter().any(|text| split(Path::new(text)).1.len() > tail.len());
    if in_ending {
        return None;
    }
    let both = texts.iter().all(|text| text.starts_with(&first[..head]) && text.ends_with(tail));
    (both && distinct.len() == words.len()).then(|| (format!("{}{{channel}}{tail}", &first[..head]), words))
}

/// Puts files of one kind into one pattern.
fn together(templates: &[&Template]) -> String {
    let Some(first) = templates.first() else { return String::new() };
    let endings: BTreeSet<&str> = templates.iter().map(|template| template.ending.as_str()).collect();
    let ending = match endings.len() {
        1 => first.ending.clone(),
        _ => format!("{}*", unpacked(&first.ending)),
    };
    let same = |at: usize| templates.iter().all(|other| other.folders.get(at) == first.folders.get(at));
    let prefix = (0..first.folders.len()).take_while(|&at| same(at)).count();
    let deep = |template: &&Template| template.folders.len() == first.folders.len();
    let mut parts: Vec<String> = first.folders.iter().take(prefix).cloned().collect();
    if templates.iter().all(deep) {
        for at in prefix..first.folders.len() {
            let names: Vec<&str> =
                templates.iter().filter_map(|t| t.folders.get(at)).map(String::as_str).collect();
            parts.push(match same(at) {
                true => first.folders[at].clone(),
                false if of_patients(&names) && !parts.iter().any(|part| part == "{patient}") => {
                    "{patient}".to_owned()
                }
                false => "*".to_owned(),
            });
        }
    } else {
        parts.push("**".to_owned());
    }
    parts.push(format!("{}{ending}", first.stem));
    parts.join("/")
}

/// The patterns of these files, one for each folder: where one for all folders fits other files as well.
pub fn by_folder(templates: &[Option<Template>], members: &[usize]) -> Vec<String> {
    type Kind = (Vec<String>, (String, String));
    let mut kinds: BTreeMap<Kind, Vec<&Template>> = BTreeMap::new();
    for template in members.iter().filter_map(|&index| templates.get(index)?.as_ref()) {
        kinds.entry((template.folders.clone(), template.kind())).or_default().push(template);
    }
    kinds.into_values().map(|of| together(&of)).collect()
}

/// Whether all these folders are called as those of patients are.
fn of_patients(names: &[&str]) -> bool {
    let is = |name: &&str| PATIENTS.iter().any(|word| name.to_ascii_lowercase().starts_with(word));
    names.iter().all(is)
}

/// A pattern that fits the same files whatever their case is called, to leave them out.
pub fn any_case(pattern: &str) -> String {
    ["{case}", "{label}", "{patient}"].iter().fold(pattern.to_owned(), |text, name| text.replace(name, "*"))
}
