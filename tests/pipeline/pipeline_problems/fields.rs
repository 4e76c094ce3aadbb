//! Fields of every kind, and what does not go together.

use expect_test::expect;

use super::{check, with};
use crate::support::text::Rewrite as _;

#[test]
fn fields() {
    check(
        &with("inputs = [\"scans\"]", "inputs = [\"scans\"]\non_gap = \"splt\""),
        expect![[r#"
        error: `on_gap` takes `reject` or `split`
          --> vs.toml:17:10
           |
        17 | on_gap = "splt"
           |          ^^^^^^ `splt` found
        hint: did you mean `split`?
    "#]],
    );
    check(
        &with("spacing = [1, 0.5, 0.5]", "spacing = [1, \"0.5\", -2]"),
        expect![[r#"
        error: item 2 of `spacing` takes a length in mm above 0
          --> vs.toml:25:15
           |
        25 | spacing = [1, "0.5", -2]
           |               ^^^^^ text found
        hint: the order is [D, H, W], e.g. [1.5, 0.4, 0.4]

        error: item 3 of `spacing` takes a length in mm above 0
          --> vs.toml:25:22
           |
        25 | spacing = [1, "0.5", -2]
           |                      ^^ -2 found
        hint: the order is [D, H, W], e.g. [1.5, 0.4, 0.4]
    "#]],
    );
    check(
        &with("spacing = [1, 0.5, 0.5]", "spacing = 0.5"),
        expect![[r#"
            error: `spacing` takes three lengths in mm above 0
              --> vs.toml:25:11
               |
            25 | spacing = 0.5
               |           ^^^ 0.5 found
            hint: the order is [D, H, W], e.g. [1.5, 0.4, 0.4]
        "#]],
    );
    check(
        &with(
            "levels = 3",
            "levels = 3.5\nrate = nan\nepochs = 0\nsplit = { sed = 1 }\ncache = \"1\"\nresume = \"yes\"",
        )
        .rewrite("\nrate", " }\nrate")
        .rewrite("\"yes\" }", "\"yes\""),
        expect![[r#"
            error: `network.levels` takes a whole number from 1 to 8
              --> vs.toml:30:37
               |
            30 | network = { type = "unet", levels = 3.5 }
               |                                     ^^^ 3.5 found
            hint: resolutions, the finest included

            error: `rate` takes a number from 0 to 1
              --> vs.toml:31:8
               |
            31 | rate = nan
               |        ^^^ nan found
            hint: step size of the optimiser

            error: `epochs` takes a whole number of at least 1
              --> vs.toml:32:10
               |
            32 | epochs = 0
               |          ^ 0 found
            hint: passes over the training cases

            error: `split` needs `test`
              --> vs.toml:33:9
               |
            33 | split = { sed = 1 }
               |         ^^^^^^^^^^^ `test` is missing
            hint: cases

            error: `split` has no field `sed`
              --> vs.toml:33:11
               |
            33 | split = { sed = 1 }
               |           ^^^ unknown field
            hint: did you mean `seed`?

            error: `cache` takes a size such as `"256 MiB"`
              --> vs.toml:34:9
               |
            34 | cache = "1"
               |         ^^^ the unit is missing
            hint: units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)

            error: `resume` takes `true` or `false`
              --> vs.toml:35:10
               |
            35 | resume = "yes"
               |          ^^^^^ text found
            hint: whether a run goes on where it ended
        "#]],
    );
    check(
        &with("MR\"", "MR\", Rows = 3, Columns = [1]"),
        expect![[r#"
            error: `where.Rows` takes text or a list of texts
             --> vs.toml:8:35
              |
            8 | where = { Modality = "MR", Rows = 3, Columns = [1], SeriesDescription = ["*t2*", "*T2*"] }
              |                                   ^ 3 found
            hint: patterns by DICOM keyword

            error: item 1 of `where.Columns` takes text
             --> vs.toml:8:49
              |
            8 | where = { Modality = "MR", Rows = 3, Columns = [1], SeriesDescription = ["*t2*", "*T2*"] }
              |                                                 ^ 1 found
            hint: patterns by DICOM keyword
        "#]],
    );
    check(
        &with("path = \"archive\"", "path = \"\"\nkeep = true\ninputs = []"),
        expect![[r#"
            error: `path` takes a path
             --> vs.toml:7:8
              |
            7 | path = ""
              |        ^^ empty text found
            hint: the folder, relative to the pipeline file

            error: `archive` has no field `keep`
             --> vs.toml:8:1
              |
            8 | keep = true
              | ^^^^ unknown field
            hint: only operators have an output to keep

            error: `archive` has no field `inputs`
             --> vs.toml:9:1
              |
            9 | inputs = []
              | ^^^^^^ unknown field
            hint: a source takes nothing from other stages
        "#]],
    );
    check(
        &with("keep = true", "keep = \"yes\""),
        expect![[r#"
            error: `keep` takes `true` or `false`
              --> vs.toml:36:8
               |
            36 | keep = "yes"
               |        ^^^^^ text found
            hint: whether the operator's output is kept even where nothing downstream needs it on disk
        "#]],
    );
    check(
        &with("keep = true", "keep = true\ntimeout = \"5 parsecs\"\nretries = 11\ntimout = \"5m\"")
            .rewrite("path = \"archive\"", "path = \"archive\"\nretries = 1"),
        expect![[r#"
            error: `archive` has no field `retries`
             --> vs.toml:8:1
              |
            8 | retries = 1
              | ^^^^^^^ unknown field
            hint: only operators take `retries`

            error: `timeout` takes a duration such as `"10s"`
              --> vs.toml:38:11
               |
            38 | timeout = "5 parsecs"
               |           ^^^^^^^^^^^ `parsecs` is not a unit
            hint: units are ms, s, m, h, d and w; parts add up: "1h 30m"

            error: `retries` takes a whole number from 0 to 10
              --> vs.toml:39:11
               |
            39 | retries = 11
               |           ^^ 11 found
            hint: the number of times that an action which failed for a passing reason is tried again

            error: `infer` has no field `timout`
              --> vs.toml:40:1
               |
            40 | timout = "5m"
               | ^^^^^^ unknown field
            hint: did you mean `timeout`?
        "#]],
    );
    check(
        &with("spacing = [1, 0.5, 0.5]", ""),
        expect![[r#"
        error: `resample` needs `spacing`
          --> vs.toml:22:1
           |
        22 | [operators.fine]
           | ^^^^^^^^^^^^^^^^ `spacing` is missing
        hint: the order is [D, H, W], e.g. [1.5, 0.4, 0.4]
    "#]],
    );
}

#[test]
fn a_word_alone_is_the_type() {
    check(&with("network = { type = \"unet\", levels = 3 }", "network = \"unet\""), expect![[""]]);
    check(
        &with("network = { type = \"unet\", levels = 3 }", "network = \"uent\""),
        expect![[r#"
        error: `network` has no type `uent`
          --> vs.toml:30:11
           |
        30 | network = "uent"
           |           ^^^^^^ unknown type
        hint: did you mean `unet`?
    "#]],
    );
}

#[test]
fn variants() {
    check(
        &with("type = \"unet\", levels = 3", "levels = 3"),
        expect![[r#"
        error: `network` needs a `type`
          --> vs.toml:30:11
           |
        30 | network = { levels = 3 }
           |           ^^^^^^^^^^^^^^ `type` is missing
        hint: it is `unet` or `linear`
    "#]],
    );
    check(
        &with("type = \"unet\"", "type = \"uent\""),
        expect![[r#"
        error: `network` has no type `uent`
          --> vs.toml:30:20
           |
        30 | network = { type = "uent", levels = 3 }
           |                    ^^^^^^ unknown type
        hint: did you mean `unet`?
    "#]],
    );
    check(
        &with("type = \"unet\"", "type = \"linear\""),
        expect![[r#"
        error: `network` of type `linear` has no field `levels`
          --> vs.toml:30:30
           |
        30 | network = { type = "linear", levels = 3 }
           |                              ^^^^^^ unknown field
        hint: `network` of type `linear` has no fields of its own
    "#]],
    );
    check(
        &with("model = \"net\"", "model = { torchscrip = \"a.pt\" }"),
        expect![[r#"
            error: `model` has no field `torchscrip`
              --> vs.toml:35:11
               |
            35 | model = { torchscrip = "a.pt" }
               |           ^^^^^^^^^^ unknown field
            hint: did you mean `torchscript`?
        "#]],
    );
    check(
        &with("model = \"net\"", "model = 3"),
        expect![[r#"
            error: `model` takes the name of a stage that gives a model, or a table with `torchscript`
              --> vs.toml:35:9
               |
            35 | model = 3
               |         ^ 3 found
            hint: a stage that trains one, or a file
        "#]],
    );
}

#[test]
fn fields_that_do_not_go_together_are_told_at_the_field() {
    check(
        &with("levels = 3", "levels = 7, dims = \"2d\""),
        expect![[r#"
        error: `levels` is at most 5 with `dims = "2d"`
          --> vs.toml:30:28
           |
        30 | network = { type = "unet", levels = 7, dims = "2d" }
           |                            ^^^^^^
        hint: take fewer levels, or `dims = "3d"`
    "#]],
    );
}
