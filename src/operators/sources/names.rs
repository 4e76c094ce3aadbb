//! Which case a file belongs to, by its name or by a table: for files that do not say it themselves.

use std::path::Path;

use regex::Regex;
use tomoflow_connectors::Reject;

use super::listed::Listed;
use crate::operators::source::{Claim, Unmet};
use crate::operators::spec::{Config, Default, Field, FieldKind, FieldProblem, Role};

/// The field `files` of sources whose files do not say whose they are.
pub const FILES: Field = Field {
    name: "files",
    kind: FieldKind::Either(&[FieldKind::Text, FieldKind::List { of: &FieldKind::Text, len: None }]),
    default: Default::Absent,
    role: Role::Operational,
    doc: "The patterns of the files' names below `path`: `\"{patient}/volume-{case}.nii*\"`. `{case}` stands \
          for the case's name (when it is left out, the file's name below `path` without its ending is the \
          case's name) and `{patient}` for the patient's (when it is left out, each case is a patient of its \
          own). In label maps `{label}` stands for the label that a file holds, and in scans with `channels` \
          `{channel}` for the channel. `*` and `?` match any characters except `/`, and `**/` any folders; a \
          `!` before a pattern leaves out the files that match it. A pattern that no file matches is a row \
          `NO_FILE_FITS` in `rejects`.",
};

/// The field `table` of the same sources.
pub const TABLE: Field = Field {
    name: "table",
    kind: FieldKind::Path,
    default: Default::Absent,
    role: Role::Operational,
    doc: "A table that lists the files, in place of `files`: a CSV with the columns `file` and `case`, \
          optionally `patient`, and, for label maps that hold one label each, `label`. A file is named by \
          its path relative to `path` (also with `./` and `..`), relative to the table's own folder, or as \
          an absolute path; a file outside of `path` is a row `OUTSIDE_PATH` in `rejects`, and one that does \
          not exist a row `FILE_MISSING`. The table is read when a run starts.",
};

/// How files are found, and whose they are.
#[derive(Clone, Debug)]
pub enum Names {
    /// Files are found by patterns, of which those that begin with `!` leave files out.
    Patterns {
        /// The patterns of which any must fit.
        wanted: Vec<Wanted>,
        /// The patterns of which none may fit.
        unwanted: Vec<Regex>,
    },
    /// Files are found by a table.
    Table(Listed),
}

/// A pattern that may fit.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The pattern as it was declared.
    text: String,
    fits: Regex,
}

impl Wanted {
    fn says(&self, name: &str) -> bool {
        self.fits.capture_names().flatten().any(|group| group.starts_with(name))
    }
}

impl Names {
    /// Reads the fields `files` and `table`, of which one must be given.
    ///
    /// # Errors
    /// What is wrong with the patterns or the table.
    pub fn read(config: &Config) -> Result<Self, Vec<FieldProblem>> {
        Self::read_with(config, Known { names: &["case", "patient"], channels: &[] })
    }

    /// Reads the names of files of which each may hold one label, `{label}`.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and for names of which some alone say a label.
    pub fn read_labels(config: &Config) -> Result<Self, Vec<FieldProblem>> {
        let known = Known { names: &["case", "patient", "label"], channels: &[] };
        let names = Self::read_with(config, known)?;
        let mixed = match &names {
            Self::Patterns { wanted, .. } => {
                let says = |pattern: &Wanted| pattern.says("label");
                let mixed = wanted.iter().any(says) && !wanted.iter().all(says);
                mixed.then(|| ("files", "`{label}` in all patterns or in none expected".to_owned()))
            }
            Self::Table(listed) => match listed.labelled() {
                [Some(_), Some(row)] => {
                    Some(("table", format!("a label in all rows or in none expected, none in row {row}")))
                }
                _ => None,
            },
        };
        let hint = "files of one label each and files of several are two sources";
        let problem = mixed.map(|(field, message)| vec![FieldProblem::new(field, message, hint)]);
        problem.map_or(Ok(names), Err)
    }

    /// Reads the names of files of which each may hold one channel, `{channel}`: one of these words.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and for names of which some alone say a channel.
    pub fn read_channels(config: &Config, words: &[String]) -> Result<Self, Vec<FieldProblem>> {
        let known = Known { names: &["case", "patient", "channel"], channels: words };
        let names = Self::read_with(config, known)?;
        let says = |pattern: &Wanted| pattern.says("channel");
        match &names {
            Self::Patterns { wanted, .. } if wanted.iter().any(says) && !wanted.iter().all(says) => {
                let hint = "files of one channel each and files of all channels are two sources";
                let message = "`{channel}` in all patterns or in none expected";
                Err(vec![FieldProblem::new("files", message, hint)])
            }
            _ => Ok(names),
        }
    }

    /// Whether each file holds one channel, which its name says.
    pub fn say_channels(&self) -> bool {
        matches!(self, Self::Patterns { wanted, .. } if wanted.iter().any(|pattern| pattern.says("channel")))
    }

    /// Returns what the name of a file says of its channel.
    pub fn channel(&self, below: &Path) -> Option<String> {
        let Self::Patterns { wanted, .. } = self else { return None };
        let name = below.to_str()?;
        let found = wanted.iter().find(|pattern| named(&pattern.fits, name).is_some())?;
        group(&found.fits, &found.fits.captures(name)?, "channel")?
    }

    /// Whether each file holds one label, which its name or the table says.
    pub fn say_labels(&self) -> bool {
        match self {
            Self::Patterns { wanted, .. } => wanted.iter().any(|pattern| pattern.says("label")),
            Self::Table(listed) => listed.labelled()[0].is_some(),
        }
    }

    fn read_with(config: &Config, known: Known<'_>) -> Result<Self, Vec<FieldProblem>> {
        let texts: Vec<&str> = match config.get("files") {
            Some(serde_json::Value::Array(texts)) => texts.iter().filter_map(|text| text.as_str()).collect(),
            files => files.and_then(|text| text.as_str()).into_iter().collect(),
        };
        let table = config.get("table").and_then(|path| path.as_str());
        match (texts.as_slice(), table) {
            ([], Some(path)) => {
                let root = config.get("path").and_then(|path| path.as_str()).unwrap_or_default();
                let listed = Listed::read(Path::new(path), Path::new(root));
                listed.map(Self::Table).map_err(|problem| vec![problem])
            }
            ([_, ..], None) => Self::patterns(&texts, known),
            _ => {
                let hint = "for example `files = \"volume-{case}.nii\"`";
                Err(vec![FieldProblem::new("files", "either `files` or `table` expected", hint)])
            }
        }
    }

    fn patterns(texts: &[&str], known: Known<'_>) -> Result<Self, Vec<FieldProblem>> {
        let (mut wanted, mut unwanted, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let left_out = text.strip_prefix('!');
            match expression(left_out.unwrap_or(text), known) {
                Ok(fits) if left_out.is_some() => unwanted.push(fits),
                Ok(fits) => wanted.push(Wanted { text: (*text).to_owned(), fits }),
                Err(message) => {
                    let names: Vec<String> = known.names.iter().map(|name| format!("`{{{name}}}`")).collect();
                    let hint = format!("known names are {}", names.join(", "));
                    problems.push(FieldProblem::new("files", format!("`{text}`: {message}"), hint));
                }
            }
        }
        if problems.is_empty() { Ok(Self::Patterns { wanted, unwanted }) } else { Err(problems) }
    }

    /// Returns whose a file is, by its path below the source's folder; `None` for one that is not asked for.
    pub fn place(&self, below: &Path) -> Option<Claim> {
        self.place_of_label(below).map(|(claim, _)| claim)
    }

    /// The same, with the name of the label that the file holds, where names say it.
    pub fn place_of_label(&self, below: &Path) -> Option<(Claim, Option<String>)> {
        match self {
            Self::Table(listed) => listed.place(below),
            Self::Patterns { wanted, unwanted } => {
                let name = below.to_str()?;
                if unwanted.iter().any(|pattern| pattern.is_match(name)) {
                    return None;
                }
                wanted.iter().find_map(|pattern| named(&pattern.fits, name))
            }
        }
    }

    /// Returns what is asked for and none of the claimed files is, of which `there` are all, by their paths
    /// below the folder.
    pub fn unmet<'a>(&self, there: impl Iterator<Item = &'a Path>, of: usize) -> Vec<Unmet> {
        let wanted = match self {
            Self::Table(listed) => return listed.unmet(there),
            Self::Patterns { wanted, .. } => wanted,
        };
        let mut unmet: Vec<&Wanted> = wanted.iter().collect();
        for name in there.filter_map(Path::to_str) {
            if unmet.is_empty() {
                break;
            }
            unmet.retain(|pattern| named(&pattern.fits, name).is_none());
        }
        let told = |pattern: &Wanted| {
            let message = format!(
                "a file that fits `{}` expected, none of {of} files below `path` is an image that does",
                pattern.text
            );
            let hint = "`*` stops at a `/`, `**/` goes into any folder; names are compared letter for letter, as a whole";
            Unmet::new(Reject::new("NO_FILE_FITS", message, hint)).named(format!("`{}`", pattern.text))
        };
        unmet.into_iter().map(told).collect()
    }
}

/// Returns what a pattern says of a name that fits it.
fn named(pattern: &Regex, name: &str) -> Option<(Claim, Option<String>)> {
    let found = pattern.captures(name)?;
    let all = |what: &str| group(pattern, &found, what);
    all("channel")?;
    let case = all("case")?.unwrap_or_else(|| without_ending(name).to_owned());
    let patient = all("patient")?.unwrap_or_else(|| case.clone());
    Some((Claim::new(case, patient), all("label")?))
}

/// Returns what stands for `{what}` in a name: none where the pattern has no such group, and no answer where
/// it stands for different texts.
fn group(pattern: &Regex, found: &regex::Captures<'_>, what: &str) -> Option<Option<String>> {
    let mut values = pattern
        .capture_names()
        .flatten()
        .filter(|group| group.starts_with(what))
        .filter_map(|group| found.name(group).map(|value| value.as_str()));
    let Some(first) = values.next() else { return Some(None) };
    // `{case}/{case}.nii` means the same name twice.
    values.all(|other| other == first).then(|| Some(first.to_owned()))
}

/// A name without what says its format.
fn without_ending(name: &str) -> &str {
    [".nii.gz", ".seg.nrrd", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".png"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}

/// What may stand in braces, and the words that `{channel}` stands for.
#[derive(Clone, Copy)]
struct Known<'a> {
    names: &'a [&'a str],
    channels: &'a [String],
}

/// A pattern as a regular expression over a whole name.
fn expression(pattern: &str, known: Known<'_>) -> Result<Regex, String> {
    let (mut out, mut groups, mut rest) = (String::from("^"), 0, pattern);
    while let Some(next) = rest.chars().next() {
        let mut length = next.len_utf8();
        match next {
            '*' if rest.starts_with("**/") => {
                out.push_str("(?:[^/]+/)*");
                length = 3;
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '{' => {
                let (name, _) = rest[1..].split_once('}').ok_or("a `{` without its `}`")?;
                if !known.names.contains(&name) {
                    return Err(format!("`{{{name}}}` is not known"));
                }
                groups += 1;
                let words =
                    || known.channels.iter().map(|word| regex::escape(word)).collect::<Vec<_>>().join("|");
                let any = if name == "channel" { words() } else { "[^/]+?".to_owned() };
                out.push_str(&format!("(?P<{name}{groups}>{any})"));
                length = name.len() + 2;
            }
            other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    out.push('$');
    Regex::new(&out).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(files: serde_json::Value) -> Result<Names, Vec<FieldProblem>> {
        Names::read(json!({ "files": files }).as_object().unwrap())
    }

    fn place(names: &Names, file: &str) -> Option<(String, String)> {
        names.place(Path::new(file)).map(|place| (place.case, place.patient))
    }

    fn pair(case: &str, patient: &str) -> Option<(String, String)> {
        Some((case.to_owned(), patient.to_owned()))
    }

    #[test]
    fn a_name_says_the_case_and_the_patient() {
        let lits = names(json!("**/volume-{case}.nii*")).unwrap();
        assert_eq!(place(&lits, "volume-12.nii"), pair("12", "12"));
        assert_eq!(place(&lits, "batch 1/a/volume-3.nii.gz"), pair("3", "3"));
        for other in ["segmentation-12.nii", "._volume-12.nii", "volume-.nii", "x/volume-1/2.nii"] {
            assert_eq!(place(&lits, other), None, "{other}");
        }
        let nested = names(json!("{patient}/{case}/{case}.mha")).unwrap();
        assert_eq!(place(&nested, "p1/a/a.mha"), pair("a", "p1"));
        assert_eq!(place(&nested, "p1/a/b.mha"), None);
        let promise = names(json!(["*.mhd", "!*_segmentation.mhd"])).unwrap();
        assert_eq!(place(&promise, "Case00.mhd"), pair("Case00", "Case00"));
        assert_eq!(place(&promise, "Case00_segmentation.mhd"), None);
    }

    /// A case's name may hold what stands between it and the channel.
    #[test]
    fn a_name_says_the_channel() {
        let words = ["t1", "t1ce", "0000"].map(str::to_owned);
        let read = |files: serde_json::Value| {
            Names::read_channels(json!({ "files": files }).as_object().unwrap(), &words)
        };
        let names = read(json!("*/{case}_{channel}.nii*")).unwrap();
        let of = |file: &str| {
            let file = Path::new(file);
            (names.place(file).map(|claim| claim.case), names.channel(file))
        };
        let found = |case: &str, channel: &str| (Some(case.to_owned()), Some(channel.to_owned()));
        assert_eq!(of("a/b_1_t1.nii"), found("b_1", "t1"));
        assert_eq!(of("a/b_1_t1ce.nii.gz"), found("b_1", "t1ce"));
        assert_eq!(of("a/case_7_0000.nii"), found("case_7", "0000"));
        assert_eq!(of("a/b_1_seg.nii"), (None, None));
        assert!(names.say_channels());
        assert!(!read(json!("{case}.nii")).unwrap().say_channels());
        assert_eq!(read(json!(["{case}.nii", "{case}_{channel}.mha"])).unwrap_err()[0].field, "files");
    }

    #[test]
    fn a_table_says_it_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Names::read(json!({ "table": file.path() }).as_object().unwrap())
        };
        let names = read("case, file, patient\n1.2.3, a/x.nii, p\n1.2.4, b.nii,\n").unwrap();
        assert_eq!(place(&names, "a/x.nii"), pair("1.2.3", "p"));
        assert_eq!(place(&names, "b.nii"), pair("1.2.4", "1.2.4"));
        assert_eq!(place(&names, "c.nii"), None);
        for (bad, word) in [("file\na.nii\n", "case"), ("file,case\na,1\na,2\n", "already")] {
            let problems = read(bad).unwrap_err();
            assert!(problems[0].message.contains(word), "{problems:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_patterns_is_said() {
        for bad in [json!("{series}.nii"), json!("{case.nii"), json!([]), json!(null)] {
            assert_eq!(names(bad.clone()).unwrap_err()[0].field, "files", "{bad}");
        }
        let both = json!({ "files": "a", "table": "b" });
        assert_eq!(Names::read(both.as_object().unwrap()).unwrap_err().len(), 1);
    }
}
