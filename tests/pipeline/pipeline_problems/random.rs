//! No text makes the checker panic, and no place lies outside of its text.

use proptest::prelude::*;
use tomoflow::operators::registry::Registry;

use super::registry::SOUND;
use super::{Plan, Problems, parsed};

/// Places are on lines that exist, and messages can be printed.
fn sane(text: &str, result: Result<Plan, Problems>) {
    let Err(problems) = result else { return };
    assert!(!problems.0.is_empty());
    for problem in &problems.0 {
        let place = problem.place.as_ref().unwrap();
        assert!(place.line <= text.matches('\n').count() + 1 && place.line > 0, "{problem}");
        assert!(!problem.message.is_empty());
    }
    assert!(problems.to_string().lines().count() >= problems.0.len());
}

/// The sound file with pieces cut out, doubled, swapped or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=,.\"'#\n\\\\ \t_0-9a-z\u{e9}-]{1,6}",
        Just("\"\"\"".to_owned()),
        Just("[[".to_owned()),
        Just("\nx = { a = [1, ".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("[operators.net]".to_owned()),
        Just("\u{0}\u{feff}\r".to_owned()),
    ];
    let edit = (0..SOUND.len(), 0..12_usize, piece);
    prop::collection::vec(edit, 1..5).prop_map(|edits| {
        let mut text = SOUND.to_owned();
        for (start, length, piece) in edits {
            let floor = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let (start, end) = (floor(start), floor(start + length));
            text.replace_range(start..end.max(start), &piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_files_never_panic(text in mutated()) {
        sane(&text, parsed(&text, &[]));
    }

    #[test]
    fn any_text_never_panics(text in any::<String>(), option in any::<String>()) {
        sane(&format!("{text}\n{option}"), parsed(&text, &[&option]));
    }

    #[test]
    fn toml_like_text_never_panics(text in "([\\[\\]{}=,.\"'#\n\\\\ a]|pipeline|sources|operators|type|inputs|1|true){0,60}") {
        sane(&text, parsed(&text, &[&text]));
    }

    #[test]
    fn builtin_types_never_panic(key in "[a-z_.]{1,12}", value in "[\\[\\]{}=,.\"0-9a-z -]{0,12}") {
        let registry = Registry::builtin();
        for entry in registry.entries() {
            let section = entry.spec.section.name();
            let mut text = format!("[{section}.x]\ntype = \"{}\"\n{key} = {value}\n", entry.spec.name);
            for field in entry.spec.fields {
                text.push_str(&format!("{} = {value}\n", field.name));
            }
            let result = tomoflow::pipeline::parse("a", &text, std::path::Path::new("/"), &[], &registry);
            sane(&text, result);
        }
    }
}

#[test]
fn depth_is_bounded() {
    for text in [
        "x = ".to_owned() + &"[".repeat(50_000),
        "x = ".to_owned() + &"{a=".repeat(50_000),
        format!("{}a = 1", "a.".repeat(50_000)),
        format!("[{}a]\nb = 1", "a.".repeat(50_000)),
        "[a.a.a.a]\n".repeat(2_000),
    ] {
        sane(&text, parsed(&text, &[]));
    }
}
