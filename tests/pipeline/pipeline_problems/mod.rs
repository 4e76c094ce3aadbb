//! Every mistake in a pipeline file is found at once, at its place, with a remedy.

mod commands;
mod extends;
mod fields;
mod options;
mod plans;
mod random;
mod reference;
mod registry;
mod sections;
mod sweep;
mod syntax;
mod wiring;

use std::path::Path;

use crate::support::text::Rewrite as _;
use expect_test::{Expect, expect};
use registry::{SOUND, registry};
use tomoflow::pipeline::{Plan, Problems, parse};

fn parsed(text: &str, overrides: &[&str]) -> Result<Plan, Problems> {
    let overrides: Vec<_> = overrides.iter().map(|option| (*option).to_owned()).collect();
    parse("vs.toml", text, Path::new("/data/vs"), &overrides, &registry())
}

/// The one funnel: what is printed for this text.
fn check(text: &str, expected: Expect) {
    check_with(text, &[], expected);
}

fn check_with(text: &str, overrides: &[&str], expected: Expect) {
    expected.assert_eq(&match parsed(text, overrides) {
        Err(problems) => problems.to_string(),
        Ok(plan) => plan.warnings.iter().map(|warning| format!("{warning}\n")).collect(),
    });
}

/// The sound file with one piece replaced.
fn with(old: &str, new: &str) -> String {
    assert!(SOUND.contains(old), "`{old}` is not in the sound file");
    SOUND.replacen(old, new, 1)
}

#[test]
fn a_sound_file_has_no_problems() {
    check(SOUND, expect![[""]]);
}

#[test]
fn five_mistakes_are_five_messages() {
    let text = with("path = \"archive\"", "pth = \"archive\"")
        .rewrite("spacing = [1, 0.5, 0.5]", "spacing = [0.4, 0.4]")
        .rewrite("levels = 3", "levels = 12")
        .rewrite("type = \"infer\"", "type = \"infre\"")
        .rewrite("inputs = [\"scans\"]", "inputs = [\"scan\"]");
    check(
        &text,
        expect![[r#"
            error: `archive` has no field `pth`
             --> vs.toml:7:1
              |
            7 | pth = "archive"
              | ^^^ unknown field
            hint: did you mean `path`?

            error: there is no stage called `scan`
              --> vs.toml:16:11
               |
            16 | inputs = ["scan"]
               |           ^^^^^^ unknown stage
            hint: did you mean `scans`?

            error: `spacing` takes three lengths in mm above 0
              --> vs.toml:25:11
               |
            25 | spacing = [0.4, 0.4]
               |           ^^^^^^^^^^ two found
            hint: the order is [D, H, W], e.g. [1.5, 0.4, 0.4]

            error: `network.levels` takes a whole number from 1 to 8
              --> vs.toml:30:37
               |
            30 | network = { type = "unet", levels = 12 }
               |                                     ^^ 12 found
            hint: resolutions, the finest included

            error: there is no operator of type `infre`
              --> vs.toml:33:8
               |
            33 | type = "infre"
               |        ^^^^^^^ unknown type
            hint: did you mean `infer`?
        "#]],
    );
}
