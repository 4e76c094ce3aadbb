//! Broken TOML: each broken line is told, and the rest is still checked.

use expect_test::expect;

use super::{check, with};
use crate::support::text::Rewrite as _;

#[test]
fn syntax_errors_do_not_hide_each_other_nor_the_rest() {
    let text = with("name = \"vs\"", "name = vs clinic")
        .rewrite("[operators.net]", "[operators.net")
        .rewrite("spacing = [1, 0.5, 0.5]", "spacing = [1, 0.5, 0.5")
        .rewrite("keep = true", "keep = True")
        .rewrite("path = \"/data/outlines\"", "path \"/data/outlines\"")
        .rewrite("levels = 3", "levels = 0");
    check(
        &text,
        expect![[r#"
            error: text needs quotes
             --> vs.toml:2:8
              |
            2 | name = vs clinic
              |        ^^^^^^^^^ not quoted
            hint: write `"vs clinic"`

            error: `=` expected after a key
              --> vs.toml:12:6
               |
            12 | path "/data/outlines"
               |      ^ `=` expected here

            error: a list is not closed
              --> vs.toml:25:11
               |
            25 | spacing = [1, 0.5, 0.5
               |           ^ `]` is missing

            error: a header is not closed
              --> vs.toml:27:1
               |
            27 | [operators.net
               | ^^^^^^^^^^^^^^ `]` is missing

            error: `network.levels` takes a whole number from 1 to 8
              --> vs.toml:30:37
               |
            30 | network = { type = "unet", levels = 0 }
               |                                     ^ 0 found
            hint: resolutions, the finest included

            error: `true` and `false` are written in lower case
              --> vs.toml:36:8
               |
            36 | keep = True
               |        ^^^^
        "#]],
    );
}

#[test]
fn unclosed_brackets_and_quotes() {
    check(
        &with("where = { Modality = \"MR\",", "where = { Modality = \"MR"),
        expect![[r#"
        error: missing comma between key-value pairs
         --> vs.toml:8:48
          |
        8 | where = { Modality = "MR SeriesDescription = ["*t2*", "*T2*"] }
          |                                                ^ expected `,`
    "#]],
    );
    check(
        &with("spacing = [1, 0.5, 0.5]", "spacing = [\n  1,\n  0.5,"),
        expect![[r#"
            error: a list is not closed
              --> vs.toml:25:11
               |
            25 | spacing = [
               |           ^ `]` is missing
        "#]],
    );
    check(
        &with("name = \"vs\"", "name = \"\"\"vs"),
        expect![[r#"
            error: text is not closed
             --> vs.toml:2:8
              |
            2 | name = """vs
              |        ^^^^^ a quote is missing
        "#]],
    );
    check(
        &with("path = \"archive\"", "path = "),
        expect![[r#"
        error: a value is missing
         --> vs.toml:7:8
          |
        7 | path =
          |        ^ expected here
    "#]],
    );
    check(
        &with("path = \"archive\"", "path = archive\npath = \"twice\""),
        expect![[r#"
        error: text needs quotes
         --> vs.toml:7:8
          |
        7 | path = archive
          |        ^^^^^^^ not quoted
        hint: write `"archive"`

        error: `path` is set twice
         --> vs.toml:8:1
          |
        8 | path = "twice"
          | ^^^^ first set on line 7
    "#]],
    );
}

#[test]
fn typographic_quotes_are_not_part_of_the_remedy() {
    for text in ["“archive”", "„archive“", "‘archive’", "«archive»"] {
        let problems = super::parsed(&with("path = \"archive\"", &format!("path = {text}")), &[]);
        let told = problems.unwrap_err().to_string();
        assert!(told.contains("hint: write `\"archive\"`"), "{text}: {told}");
    }
}
