//! No two files import each other, a module and those below it apart: `use` and paths in code are followed through
//! re-exports to the file that has what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::floors::{sources, words};

type Module = Vec<String>;

/// What one file names.
#[derive(Default)]
struct Names {
    /// Paths from the crate's root.
    uses: BTreeSet<Module>,
    /// Names that the file hands on, each with the path that it stands for.
    hands_on: BTreeMap<String, Module>,
}

/// The paths of a `use` tree that begins at `at`, each with the name that it gets, and where the tree ends.
fn tree(words: &[String], mut at: usize) -> (Vec<(Module, String)>, usize) {
    let mut parts: Module = Vec::new();
    loop {
        match words.get(at).map(String::as_str) {
            Some(":") => at += 1,
            Some("{") => {
                let mut leaves = Vec::new();
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    let (inner, end) = tree(words, at);
                    leaves
                        .extend(inner.into_iter().map(|(path, name)| ([parts.clone(), path].concat(), name)));
                    at = if words.get(end).is_some_and(|word| word == ",") { end + 1 } else { end };
                }
                return (leaves, at + 1);
            }
            Some(word) if word != ";" && word != "," && word != "}" => {
                parts.push(word.to_owned());
                at += 1;
                if words.get(at).is_some_and(|word| word == "as") {
                    let name = words.get(at + 1).cloned().unwrap_or_default();
                    return (vec![(parts, name)], at + 2);
                }
                if words.get(at).is_none_or(|word| word != ":") {
                    let name = parts.last().cloned().unwrap_or_default();
                    return (vec![(parts, name)], at);
                }
            }
            _ => return (Vec::new(), at),
        }
    }
}

/// A path from the crate's root, of one that is written in the module `here`.
fn absolute(path: &[String], here: &[String]) -> Option<Module> {
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("super" | "self") => {
            let mut base = here.to_vec();
            let mut rest = path;
            while let [first, more @ ..] = rest {
                match first.as_str() {
                    "super" => drop(base.pop()?),
                    "self" => {}
                    _ => break,
                }
                rest = more;
            }
            Some([base, rest.to_vec()].concat())
        }
        _ => None,
    }
}

/// What a file names, its tests apart.
fn names(here: &[String], code: &str, modules: &BTreeSet<Module>) -> Names {
    let words = words(code);
    let (mut names, mut at, mut depth) = (Names::default(), 0, 0_usize);
    let mut within: Vec<(usize, String)> = Vec::new();
    while at < words.len() {
        let inner: Module = within.iter().map(|(_, name)| name.clone()).collect();
        let place = [here.to_vec(), inner.clone()].concat();
        let tests = inner.iter().any(|name| name == "tests");
        match words[at].as_str() {
            "{" => depth += 1,
            "}" => {
                if within.last().is_some_and(|(opened, _)| *opened == depth) {
                    within.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "mod" if words.get(at + 2).is_some_and(|word| word == "{") => {
                within.push((depth + 1, words[at + 1].clone()));
            }
            "use" if words.get(at + 1).is_none_or(|word| word != "<") => {
                let hands_on = at > 0 && matches!(words[at - 1].as_str(), "pub" | ")");
                let (leaves, end) = tree(&words, at + 1);
                for (path, name) in leaves {
                    let child = || [place.clone(), path.clone()].concat();
                    let is_child = || modules.contains(&[place.clone(), vec![path[0].clone()]].concat());
                    let found = absolute(&path, &place).or_else(|| is_child().then(child));
                    let Some(found) = found else { continue };
                    if hands_on {
                        names.hands_on.insert(name, found.clone());
                    }
                    if !tests {
                        names.uses.insert(found);
                    }
                }
                at = end;
                continue;
            }
            "crate" | "super" if !tests && words.get(at + 1).is_some_and(|word| word == ":") => {
                let (leaves, _) = tree(&words, at);
                names.uses.extend(leaves.iter().filter_map(|(path, _)| absolute(path, &place)));
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// The file that has what a path names.
fn home(path: &[String], files: &BTreeMap<Module, Names>, left: usize) -> Option<Module> {
    let file = (0..=path.len()).rev().map(|end| &path[..end]).find(|module| files.contains_key(*module))?;
    if let (Some(name), 1..) = (path.get(file.len()), left)
        && let Some(meant) = files[file].hands_on.get(name)
    {
        return home(&[meant.clone(), path[file.len() + 1..].to_vec()].concat(), files, left - 1);
    }
    Some(file.to_vec())
}

/// Pairs of modules that import each other, neither of which lies below the other.
fn circles(code: &BTreeMap<Module, String>) -> BTreeSet<(String, String)> {
    let modules: BTreeSet<Module> = code.keys().cloned().collect();
    let files: BTreeMap<Module, Names> =
        code.iter().map(|(module, code)| (module.clone(), names(module, code, &modules))).collect();
    let imports: BTreeSet<(Module, Module)> = files
        .iter()
        .flat_map(|(module, names)| {
            names.uses.iter().filter_map(|path| Some((module.clone(), home(path, &files, 8)?)))
        })
        .collect();
    imports
        .iter()
        .filter(|(a, b)| a < b && !b.starts_with(a) && imports.contains(&(b.clone(), a.clone())))
        .map(|(a, b)| (a.join("::"), b.join("::")))
        .collect()
}

fn read(folder: &str) -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let module = |file: &Path| -> Module {
        let inner = file.strip_prefix(&root).unwrap().with_extension("");
        let parts = inner.iter().map(|part| part.to_str().unwrap().to_owned());
        parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
    };
    files.iter().map(|file| (module(file), std::fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn no_two_files_import_each_other() {
    let found: BTreeSet<_> =
        circles(&read("src")).into_iter().chain(circles(&read("connectors/src"))).collect();
    assert!(found.is_empty(), "files import each other: {found:#?}");
}

#[test]
fn circles_are_seen_through_what_a_module_hands_on() {
    let code = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module =
            |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        files.iter().map(|(name, code)| (module(name), (*code).to_owned())).collect()
    };
    let pairs = |files: &[(&str, &str)]| circles(&code(files)).into_iter().collect::<Vec<_>>();
    let one = vec![("a".to_owned(), "b".to_owned())];
    assert_eq!(pairs(&[("a", "use crate::b::B;"), ("b", "use super::a::{A, C};")]), one);
    assert_eq!(
        pairs(&[("a", "use crate::B;"), ("b", "fn f() { super::a::g() }"), ("", "pub use b::B;")]),
        one
    );
    // A module and one below it may, and so may tests.
    assert!(pairs(&[("a", "use self::b::B;"), ("a::b", "use super::A;")]).is_empty());
    assert!(pairs(&[("a", "use crate::b::B;"), ("b", "mod tests { use super::super::a::A; }")]).is_empty());
    assert!(pairs(&[("a", "use crate::b::B;"), ("b", "use std::a::A; // use crate::a::A;")]).is_empty());
}
