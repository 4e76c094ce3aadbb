//! `extends = "base.toml"`: a pipeline that says what differs from another one.
//!
//! Tables are merged key by key; what else both have, the extending file decides. A table that names another `type` than
//! the base's takes its place whole, since the fields of one type mean nothing to another. `without` names what of the
//! base is left out. Every key and value keeps its place, so that a mistake is located in the file that has it, and a
//! path is relative to the folder of the file that it stands in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::expand::expand;
use super::problem::{Found, Sources, Span};
use super::syntax;
use super::tree::{Node, Origin, Table, Value};

/// How a file says what differs from another one.
pub(super) const EXTENDS: &str = "A file that opens with `extends = \"base.toml\"`, before `[pipeline]`, \
    says what differs from another pipeline. Tables are merged key by key; a list or any other value takes \
    the place of the base's, and so does a table that names another `type`. `without = [\"operators.near\", \
    \"operators.net.patience\"]` leaves out what the base has. A path is relative to the folder of the file \
    that it stands in. Results are found as if everything were written in one file, which `tomoflow check \
    --resolved` prints.";

/// Files that extend each other, the first one included.
const MAX_FILES: usize = 16;
/// A pipeline file is no longer than this.
const LONGEST: u64 = 16 << 20;

/// The files that a pipeline is read from: what paths in each are relative to, and where they led.
pub(super) struct Files {
    /// The folder of each file, by the number of its source; the options of the command line are those of the first.
    folders: Vec<PathBuf>,
    paths: RefCell<BTreeMap<Span, String>>,
}

impl Files {
    /// A pipeline file in a folder, and the options beside it.
    pub fn new(folder: &Path) -> Self {
        Self { folders: vec![folder.to_owned(); 2], paths: RefCell::default() }
    }

    /// The path that a text of a file means.
    pub fn path(&self, written: Span, path: String) -> String {
        let folder = self.folders.get(written.source).or(self.folders.first());
        let path = folder.map_or_else(|| PathBuf::from(&path), |folder| folder.join(&path));
        let path = path.to_string_lossy().into_owned();
        self.paths.borrow_mut().insert(written, path.clone());
        path
    }

    /// The path that a text was taken for, where it was one.
    pub fn path_at(&self, written: Span) -> Option<String> {
        self.paths.borrow().get(&written).cloned()
    }
}

/// The text of a pipeline file, which may come out of a pipe.
///
/// # Errors
/// What the system says, or that it is longer than any.
pub(super) fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        let message = format!("at most {} MiB expected, more found", LONGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// A file that others extend, as it was read.
struct Layer {
    table: Table,
    /// What it leaves out of its own base.
    without: Vec<(String, Span)>,
}

/// The pipeline with all that it extends: `root` is the first file's tree, `name` what problems call that file.
pub(super) fn apply(
    root: Table,
    name: &str,
    sources: &mut Sources,
    files: &mut Files,
    found: &mut Vec<Found>,
) -> Table {
    let mut chain = Chain { sources, files, found, seen: Vec::new() };
    chain.seen.push(chain.first(name));
    let (mut layers, mut broken) = (Vec::new(), false);
    let mut next = Some((root, 0));
    while let Some((mut table, source)) = next {
        let extends = take(&mut table, "extends");
        let without = take(&mut table, "without").map(|node| chain.without(&node, extends.is_some()));
        layers.push(Layer { table, without: without.unwrap_or_default() });
        next = extends.as_ref().and_then(|node| chain.base(node, source));
        broken |= extends.is_some() && next.is_none();
    }
    let mut layers = layers.into_iter().rev();
    let Some(Layer { table: mut merged, .. }) = layers.next() else { return Table::new(Origin::Header) };
    for Layer { table, without } in layers {
        for (path, span) in without {
            if !remove(&mut merged, &path) && !broken && !merged.damaged {
                let problem = Found::new(span, format!("the base has no `{path}`"));
                found.push(problem.label("nothing to leave out").hint("write it with dots, as `--set` does"));
            }
        }
        merge(&mut merged, table);
    }
    if broken {
        unsure(&mut merged);
    }
    merged
}

fn take(table: &mut Table, name: &str) -> Option<Node> {
    let place = table.entries.iter().position(|(key, _)| key.name == name)?;
    Some(table.entries.remove(place).1)
}

/// Reads one base after the other.
struct Chain<'a> {
    sources: &'a mut Sources,
    files: &'a mut Files,
    found: &'a mut Vec<Found>,
    /// The files so far, without links.
    seen: Vec<PathBuf>,
}

impl Chain<'_> {
    fn first(&self, name: &str) -> PathBuf {
        let file = Path::new(name).file_name().unwrap_or_default();
        let path = self.files.folders.first().map(|folder| folder.join(file)).unwrap_or_default();
        path.canonicalize().unwrap_or(path)
    }

    /// What `without` lists.
    fn without(&mut self, node: &Node, extends: bool) -> Vec<(String, Span)> {
        let mut problem = |span, message: &str, label: String, hint: &str| {
            self.found.push(Found::new(span, message).label(label).hint(hint));
        };
        let items = match &node.value {
            Value::List(items) if extends => items,
            Value::Broken => return Vec::new(),
            Value::List(_) => {
                let hint = "it leaves out what a base has: `extends = \"base.toml\"`";
                problem(node.span, "`without` goes with `extends`", "no base".to_owned(), hint);
                return Vec::new();
            }
            other => {
                let hint = "for example `without = [\"operators.samples.augment\"]`";
                problem(node.span, "`without` takes a list of keys", other.found(), hint);
                return Vec::new();
            }
        };
        let mut listed = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(path) => listed.push((path.clone(), item.span)),
                Value::Broken => {}
                other => problem(item.span, "`without` takes a list of keys", other.found(), ""),
            }
        }
        listed
    }

    /// The file that `extends` of a source names, and its number.
    fn base(&mut self, node: &Node, source: usize) -> Option<(Table, usize)> {
        let written = match &node.value {
            Value::Text(text) if !text.is_empty() => text,
            Value::Broken => return None,
            other => {
                let problem = Found::new(node.span, "`extends` takes the path of a pipeline file");
                let hint = "for example `extends = \"base.toml\"`, before `[pipeline]`";
                self.found.push(problem.label(other.found()).hint(hint));
                return None;
            }
        };
        match self.read(node.span, written, source) {
            Ok(read) => Some(read),
            Err(problem) => {
                self.found.push(problem);
                None
            }
        }
    }

    fn read(&mut self, span: Span, written: &str, source: usize) -> Result<(Table, usize), Found> {
        let relative = expand(written, &|name| std::env::var(name).ok()).map_err(|(label, hint)| {
            Found::new(span, "`extends` takes the path of a pipeline file").label(label).hint(hint)
        })?;
        let folder = self.files.folders.get(source).cloned().unwrap_or_default();
        let path = folder.join(&relative);
        let refused = |label: String, hint: &str| {
            Found::new(span, "the base of this pipeline cannot be read").label(label).hint(hint)
        };
        let real = path.canonicalize().map_err(|error| {
            refused(error.to_string(), "a path is relative to the folder of the file that it stands in")
        })?;
        if self.seen.contains(&real) {
            let hint = "of files that extend each other one must stand for itself";
            return Err(Found::new(span, "pipelines extend each other in a circle")
                .label("it extends this one")
                .hint(hint));
        }
        if self.seen.len() == MAX_FILES {
            let label = format!("the {MAX_FILES}th file in a row");
            return Err(refused(label, "write what several files have in common into one"));
        }
        if !real.is_file() {
            return Err(refused("no file found".to_owned(), "name the file, not its folder"));
        }
        let bytes = bytes_of(&real).map_err(|error| refused(error.to_string(), ""))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| refused("another encoding found".to_owned(), "save the file as UTF-8"))?;
        // The name is as one would type it from where the first file was named.
        let name = self.sources.name(source);
        let name =
            Path::new(&name).parent().map_or_else(|| PathBuf::from(&relative), |at| at.join(&relative));
        let number = self.sources.push(&name.to_string_lossy(), &text);
        let beside = path.parent().unwrap_or(&folder);
        self.files.folders.push(beside.canonicalize().unwrap_or_else(|_| beside.to_owned()));
        self.seen.push(real);
        let (table, problems) = syntax::read(&text, number, 0);
        self.found.extend(problems);
        Ok((table, number))
    }
}

/// Marks a file whose base cannot be read: what is absent in it says nothing.
fn unsure(table: &mut Table) {
    table.damaged = true;
    for (_, node) in &mut table.entries {
        if let Value::Table(inner) = &mut node.value {
            unsure(inner);
        }
    }
}

/// Puts what a file says over what its base says.
fn merge(base: &mut Table, over: Table) {
    base.damaged |= over.damaged;
    for (key, node) in over.entries {
        let Some((known, value)) = base.get_mut(&key.name) else {
            base.entries.push((key, node));
            continue;
        };
        match (&mut value.value, node.value) {
            // It stays where it was declared; what was added or changed has a place of its own.
            (Value::Table(below), Value::Table(above)) if same_type(below, &above) => merge(below, above),
            (below, above) => {
                *below = above;
                (*known, value.span) = (key, node.span);
            }
        }
    }
}

/// Whether a table adds to another one: it names no other `type`.
fn same_type(below: &Table, above: &Table) -> bool {
    let of = |table: &Table| match table.get("type").map(|(_, node)| &node.value) {
        Some(Value::Text(name)) => Some(name.clone()),
        _ => None,
    };
    of(above).is_none_or(|name| of(below).is_none_or(|below| below == name))
}

/// Takes away what a dotted path leads to; whether it was there.
fn remove(table: &mut Table, path: &str) -> bool {
    let whole = table.entries.iter().position(|(key, _)| key.name == path);
    if let Some(place) = whole {
        table.entries.remove(place);
        return true;
    }
    // A key may hold dots of its own.
    path.match_indices('.').any(|(dot, _)| match table.get_mut(&path[..dot]) {
        Some((_, Node { value: Value::Table(inner), .. })) => remove(inner, &path[dot + 1..]),
        _ => false,
    })
}
