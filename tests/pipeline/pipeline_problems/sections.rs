//! Sections, headers, types and the `[pipeline]` table.

use expect_test::expect;

use super::{check, with};
use crate::support::text::Rewrite as _;

#[test]
fn sections_and_headers() {
    check(
        "",
        expect![[r#"
            error: the section `[pipeline]` is missing
             --> vs.toml:1:1
              |
            1 |
              | ^ expected here
            hint: it opens the file: `[pipeline]`, then `name = "…"` and `out = "…"`
        "#]],
    );
    check(
        "name = \"vs\"\n[operator.net]\ntype = \"train\"\n[sources]\nscans = 3\n",
        expect![[r#"
            error: the section `[pipeline]` is missing
             --> vs.toml:1:1
              |
            1 | name = "vs"
              | ^ expected here
            hint: it opens the file: `[pipeline]`, then `name = "…"` and `out = "…"`

            error: `name` stands outside of any section
             --> vs.toml:1:1
              |
            1 | name = "vs"
              | ^^^^ no section
            hint: it belongs below the line `[pipeline]`

            error: `train` needs `inputs`
             --> vs.toml:2:1
              |
            2 | [operator.net]
              | ^^^^^^^^^^^^^^ `inputs` is missing
            hint: `train` takes cases, which a stage of type `label` would give

            error: there is no section `operator`
             --> vs.toml:2:2
              |
            2 | [operator.net]
              |  ^^^^^^^^ unknown section
            hint: did you mean `operators`?

            error: `sources.scans` is a table
             --> vs.toml:5:9
              |
            5 | scans = 3
              |         ^ 3 found
            hint: write `[sources.scans]`
        "#]],
    );
    check(
        &with("[operators.case]", "[operators.assembled]"),
        expect![[r#"
            error: `operators.assembled` is set twice
              --> vs.toml:18:1
               |
            18 | [operators.assembled]
               | ^^^^^^^^^^^^^^^^^^^^^ first set on line 14
            hint: a name stands once: rename one, or join the two

            error: there is no stage called `case`
              --> vs.toml:24:11
               |
            24 | inputs = ["case"]
               |           ^^^^^^ unknown stage
            hint: known are `scans`, `lines`, `assembled`, `net` and `segment`
        "#]],
    );
    check(
        &with("[sinks.masks]", "[sinks.case]"),
        expect![[r#"
        error: two stages are called `case`
          --> vs.toml:38:8
           |
        38 | [sinks.case]
           |        ^^^^ the second one
        hint: names are shared by all sections; the other one is `[operators.case]`
    "#]],
    );
    check(
        &with("[sinks.masks]", "[[sinks.masks]]"),
        expect![[r#"
        error: `sinks.masks` is a table
          --> vs.toml:38:1
           |
        38 | [[sinks.masks]]
           | ^^^^^^^^^^^^^^^ a list found
        hint: write `[sinks.masks]`
    "#]],
    );
    check(
        &with("[sinks.masks]", "[sinks.\"my masks\"]"),
        expect![[r#"
            error: a stage's name has letters, digits, `_` and `-`
              --> vs.toml:38:8
               |
            38 | [sinks."my masks"]
               |        ^^^^^^^^^^ other characters found
            hint: for example `my_masks`
        "#]],
    );
}

#[test]
fn stages_of_a_misspelt_section_are_still_checked() {
    let text =
        with("[pipeline]", "[pipelin]").rewrite("[sources.", "[source.").rewrite("levels = 3", "levels = 0");
    check(
        &text,
        expect![[r#"
        error: there is no section `pipelin`
         --> vs.toml:1:2
          |
        1 | [pipelin]
          |  ^^^^^^^ unknown section
        hint: did you mean `pipeline`?

        error: there is no section `source`
         --> vs.toml:5:2
          |
        5 | [source.scans]
          |  ^^^^^^ unknown section
        hint: did you mean `sources`?

        error: `network.levels` takes a whole number from 1 to 8
          --> vs.toml:30:37
           |
        30 | network = { type = "unet", levels = 0 }
           |                                     ^ 0 found
        hint: resolutions, the finest included
    "#]],
    );
}

#[test]
fn types() {
    check(
        &with("type = \"volume\"\n", ""),
        expect![[r#"
        error: `operators.assembled` needs a `type`
          --> vs.toml:14:1
           |
        14 | [operators.assembled]
           | ^^^^^^^^^^^^^^^^^^^^^ `type` is missing
        hint: under `operators` it is `infer`, `label`, `resample`, `train` or `volume`
    "#]],
    );
    check(
        &with("type = \"volume\"", "type = \"tables\""),
        expect![[r#"
        error: `tables` does not belong under `operators`
          --> vs.toml:15:8
           |
        15 | type = "tables"
           |        ^^^^^^^^ one of the sinks
        hint: write `[sinks.assembled]`
    "#]],
    );
    check(
        &with("type = \"volume\"", "type = 3"),
        expect![[r#"
            error: `type` takes `infer`, `label`, `resample`, `train` or `volume`
              --> vs.toml:15:8
               |
            15 | type = 3
               |        ^ 3 found
        "#]],
    );
    check(
        &with("type = \"tables\"", "type = \"duckdb\""),
        expect![[r#"
            error: there is no sink of type `duckdb`
              --> vs.toml:39:8
               |
            39 | type = "duckdb"
               |        ^^^^^^^^ unknown type
            hint: there is only `tables`
        "#]],
    );
}

#[test]
fn settings() {
    let text = with(
        "out = \"results\"",
        "memory = \"6 gigs\"\ndevice = \"gpu\"\nidentifiers = \"plain\"\nallowed_rejects = 2\nouts = 1\nsettle = 10\nrescan = \"0s\"",
    );
    check(
        &text,
        expect![[r#"
            error: `memory` takes a size such as `"256 MiB"`
             --> vs.toml:3:10
              |
            3 | memory = "6 gigs"
              |          ^^^^^^^^ `gigs` is not a unit
            hint: units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)

            error: `identifiers` takes `pseudonymous` or `clear`
             --> vs.toml:5:15
              |
            5 | identifiers = "plain"
              |               ^^^^^^^ `plain` found
            hint: the form of identifiers in tables: a keyed hash (`pseudonymous`), or as they are in the files (`clear`)

            error: `allowed_rejects` takes a number from 0 to 1
             --> vs.toml:6:19
              |
            6 | allowed_rejects = 2
              |                   ^ 2 found
            hint: the share of series that may be rejected; with a greater share the exit code is 1

            error: `pipeline` has no field `outs`
             --> vs.toml:7:1
              |
            7 | outs = 1
              | ^^^^ unknown field
            hint: did you mean `out`?

            error: `settle` takes a duration such as `"10s"`
             --> vs.toml:8:10
              |
            8 | settle = 10
              |          ^^ 10 found
            hint: units are ms, s, m, h, d and w; parts add up: "1h 30m"

            error: `rescan` takes a duration such as `"10s"`
             --> vs.toml:9:10
              |
            9 | rescan = "0s"
              |          ^^^^ at least one millisecond expected
            hint: units are ms, s, m, h, d and w; parts add up: "1h 30m"
        "#]],
    );
    check(
        &with("out = \"results\"", "out = \"r\"\ndevice = \"cuda:x\""),
        expect![[r#"
        error: `device` takes `auto`, `cpu`, `cuda` or `cuda:N`
         --> vs.toml:4:10
          |
        4 | device = "cuda:x"
          |          ^^^^^^^^ `cuda:x` found
        hint: GPUs are counted from 0: `cuda:0` is the first
    "#]],
    );
    check(
        &with("out = \"results\"", "out = \"r\"\ndevice = \"tpu\"\nmetrics = \"localhost:9464\""),
        expect![[r#"
            error: `device` takes `auto`, `cpu`, `cuda` or `cuda:N`
             --> vs.toml:4:10
              |
            4 | device = "tpu"
              |          ^^^^^ `tpu` found
            hint: GPUs are counted from 0: `cuda:0` is the first

            error: `metrics` takes a loopback address, `IP:PORT`
             --> vs.toml:5:11
              |
            5 | metrics = "localhost:9464"
              |           ^^^^^^^^^^^^^^^^ `localhost:9464` found
            hint: for example `127.0.0.1:9464` or `[::1]:9464`
        "#]],
    );
    check(
        &with("out = \"results\"", "out = \"r\"\nmetrics = \"0.0.0.0:9464\""),
        expect![[r#"
        error: `metrics` takes a loopback address, `IP:PORT`
         --> vs.toml:4:11
          |
        4 | metrics = "0.0.0.0:9464"
          |           ^^^^^^^^^^^^^^ an address that other machines reach
        hint: write `127.0.0.1:9464`; an agent or a proxy on this machine passes them on
    "#]],
    );
    check(
        &with("out = \"results\"", "out = \"r\"\nmemory = 6\nout = \"s\""),
        expect![[r#"
            error: `memory` takes a size such as `"256 MiB"`
             --> vs.toml:4:10
              |
            4 | memory = 6
              |          ^ 6 found
            hint: units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)

            error: `out` is set twice
             --> vs.toml:5:1
              |
            5 | out = "s"
              | ^^^ first set on line 3
        "#]],
    );
}
