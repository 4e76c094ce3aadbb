//! Imports point down only: every `crate::` path of the sources is read, and a floor that names one above
//! it fails.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the top; those on one line do not know each other.
const FLOORS: [&[&str]; 12] = [
    &["cli"],
    &["init", "report", "phantom"],
    &["engine"],
    &["executor"],
    &["store"],
    &["pipeline"],
    &["operators"],
    &["networks"],
    &["fields"],
    &["voxels"],
    &["metrics"],
    &["connectors"],
];

/// Crates that have one home.
const HOMES: [(&str, &str); 10] = [
    ("redb", "store"),
    ("notify", "engine"),
    ("httparse", "engine"),
    ("rustls", "engine"),
    ("prometheus_client", "engine"),
    ("timely", "engine"),
    ("differential_dataflow", "engine"),
    ("tch", "networks"),
    ("torch_sys", "networks"),
    ("tomoflow", "main"),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The words and signs of Rust code, without comments, texts and characters.
pub(super) fn words(code: &str) -> Vec<String> {
    let code: Vec<char> = code.chars().collect();
    let at = |index: usize| code.get(index).copied().unwrap_or('\0');
    let (mut words, mut i) = (Vec::new(), 0);
    while i < code.len() {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        match at(i) {
            '/' if at(i + 1) == '/' => i += code[i..].iter().take_while(|letter| **letter != '\n').count(),
            '/' if at(i + 1) == '*' => {
                let end = code[i..].windows(2).position(|pair| pair == ['*', '/']);
                i += end.map_or(code.len(), |end| end + 2);
            }
            'r' if at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '"' | '#')) => {
                let hashes = code[i + 1..].iter().take_while(|letter| **letter == '#').count();
                let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let open = i + 2 + hashes;
                let end = code[open..].windows(close.len()).position(|run| run == close);
                i = end.map_or(code.len(), |end| open + end + close.len());
            }
            '"' => {
                i += 1;
                while i < code.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '\'' if at(i + 1) == '\\' => {
                i += 3 + code[i + 3..].iter().take_while(|l| **l != '\'').count() + 1
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            letter if is_word(letter) => {
                let word: String = code[i..].iter().take_while(|letter| is_word(**letter)).collect();
                i += word.chars().count();
                words.push(word);
            }
            letter if letter.is_whitespace() => i += 1,
            letter => {
                words.push(letter.to_string());
                i += 1;
            }
        }
    }
    words
}

/// The first parts of the paths behind `::` at `start`: one, or those of a group in braces.
fn heads(words: &[String], start: usize) -> Vec<String> {
    if words.get(start).is_none_or(|word| word != "{") {
        return words.get(start).cloned().into_iter().collect();
    }
    let (mut heads, mut depth, mut fresh) = (Vec::new(), 0_usize, false);
    for word in &words[start..] {
        match word.as_str() {
            "{" => {
                depth += 1;
                fresh = depth == 1;
            }
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => fresh = depth == 1,
            head if fresh => {
                heads.push(head.to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

/// What a file of a module imports that it must not; `path` are the modules that it lies in.
fn faults(path: &[&str], code: &str) -> Vec<String> {
    let words = words(code);
    let sign = |index: usize, sign: &str| words.get(index).is_some_and(|word| word == sign);
    let colons = |index: usize| sign(index, ":") && sign(index + 1, ":");
    let module = path[0];
    let mut faults = Vec::new();
    for index in 0..words.len() {
        let behind = index >= 2 && colons(index - 2);
        let mut named = Vec::new();
        if words[index] == "crate" && colons(index + 1) {
            named = heads(&words, index + 3);
            for name in named.iter().filter(|name| floor(name).is_none()) {
                faults.push(format!("`crate::{name}` is on no floor"));
            }
        } else if words[index] == "super" && !behind {
            let supers =
                (0..).take_while(|n| sign(index + 3 * n, "super") && colons(index + 3 * n + 1)).count();
            if supers >= path.len() {
                named = heads(&words, index + 3 * supers);
            }
        }
        for name in named {
            if let (Some(own), Some(other)) = (floor(module), floor(&name))
                && name != module
                && other <= own
            {
                faults.push(format!("`{module}` imports `{name}`, which does not lie below it"));
            }
        }
        let is_path = colons(index + 1) || (index > 0 && words[index - 1] == "use");
        for (name, home) in HOMES {
            if words[index] == name && is_path && !behind && module != home {
                faults.push(format!("`{name}` is named outside of `{home}`"));
            }
        }
    }
    faults
}

pub(super) fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The faults of all files below a folder; `module` is where they lie, when it is not told by the path.
fn all_faults(folder: &str, module: Option<&str>) -> (usize, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in &files {
        let inner = file.strip_prefix(&root).unwrap().with_extension("");
        let parts = inner.components().map(|part| part.as_os_str().to_str().unwrap());
        let path: Vec<&str> = module.into_iter().chain(parts).filter(|part| *part != "mod").collect();
        let code = fs::read_to_string(file).unwrap();
        found.extend(faults(&path, &code).into_iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    (files.len(), found)
}

#[test]
fn imports_point_down() {
    let (files, found) = all_faults("src", None);
    assert!(files > 20, "only {files} files were read");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn connectors_know_neither_timely_nor_tch() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for name in ["timely", "differential-dataflow", "tch", "torch-sys"] {
        assert!(!manifest.lines().any(|line| line.starts_with(name)), "connectors depends on `{name}`");
    }
    // Their own `crate::` paths are within one floor; only the homes of other crates matter.
    let (files, found) = all_faults("connectors/src", Some("connectors"));
    let found: Vec<_> = found.into_iter().filter(|fault| fault.contains("is named outside")).collect();
    assert!(files > 5, "only {files} files were read");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_floor() {
    let lib = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let words = words(&lib);
    let modules = words.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].as_str());
    let lost: Vec<_> = modules.filter(|module| floor(module).is_none()).collect();
    assert!(lost.is_empty(), "modules without a floor: {lost:?}");
}

#[test]
fn main_uses_the_commands_only() {
    let main = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")).unwrap();
    let words = words(&main);
    let uses: Vec<_> = (0..words.len()).filter(|index| words[*index] == "tomoflow").collect();
    assert!(!uses.is_empty());
    for index in uses {
        assert_eq!(heads(&words, index + 3), ["cli"]);
    }
}

#[test]
fn a_fault_is_seen_however_it_is_written() {
    let one = |path: &[&str], code: &str| faults(path, code).len();
    assert_eq!(one(&["operators", "infer"], "use crate::engine::Wanted;"), 1);
    assert_eq!(one(&["operators", "infer"], "fn f() { crate::store::open() }"), 1);
    assert_eq!(one(&["operators"], "use crate::{networks::{Unet, cli}, pipeline::Plan, connectors};"), 1);
    assert_eq!(one(&["operators", "infer"], "use super::super::executor::Pool;"), 1);
    assert_eq!(one(&["operators"], "use super::executor::Pool;"), 1);
    assert_eq!(one(&["report"], "use crate::phantom::Phantom;"), 1);
    assert_eq!(one(&["store"], "use timely::Config; fn f() { tch::Tensor::new() }"), 2);
    assert_eq!(one(&["operators"], "use crate::somewhere::Else;"), 1);
    assert_eq!(one(&["cli"], "use tomoflow::engine;"), 1);
}

#[test]
fn what_is_no_import_is_no_fault() {
    let code = r###"
        //! See [`crate::engine`].
        /* use crate::engine; */
        use crate::{connectors::{Scan, dicom}, networks};
        use super::spec::Kind; // use crate::cli;
        const TEXT: &str = "use crate::engine::\" Wanted";
        const RAW: &str = r#"crate::engine "x" tch::"#;
        fn f<'a>(x: &'a str, tch: char) -> bool { tch == '"' || tch == '\'' || x == "timely::" }
        mod tests { use super::super::registry; use crate::operators::value; }
    "###;
    assert_eq!(faults(&["operators", "infer"], code), Vec::<String>::new());
}

/// `TOMOFLOW_POINT` ends processes: what is handed on must not know it.
#[test]
fn only_tests_ask_for_named_points() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let (program, tests) = read("Cargo.toml")
        .split_once("[dev-dependencies]")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(!program.contains("\"points\"") && tests.contains("features = [\"points\"]"));
    let connectors = read("connectors/Cargo.toml");
    assert!(connectors.contains("points = []") && connectors.contains("default = [\"tables\"]"));
    let code = read("connectors/src/points.rs");
    let (always, tests) = code.split_once("#[cfg(feature = \"points\")]\nmod armed {").unwrap();
    let code =
        |text: &str| text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>();
    assert!(tests.contains("TOMOFLOW_POINT") && !code(always).contains("TOMOFLOW_POINT"));
}
