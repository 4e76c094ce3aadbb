//! Names, numbers and kinds of inputs, circles, and what nothing uses.

use expect_test::expect;

use super::registry::SOUND;
use super::{check, with};
use crate::support::text::Rewrite as _;

#[test]
fn wiring() {
    check(
        &with("inputs = [\"assembled\", \"lines\"]", "inputs = [\"assembled\"]"),
        expect![[r#"
            error: `label` takes two inputs, scans and outlines
              --> vs.toml:20:10
               |
            20 | inputs = ["assembled"]
               |          ^^^^^^^^^^^^^ one found
            hint: `label` takes scans, which `assembled` gives; then outlines, which `lines` gives
        "#]],
    );
    check(
        &with("inputs = [\"assembled\", \"lines\"]", "inputs = [\"lines\", \"assembled\"]"),
        expect![[r#"
            error: `lines` gives outlines where scans are expected
              --> vs.toml:20:11
               |
            20 | inputs = ["lines", "assembled"]
               |           ^^^^^^^ a source of type `outlines`
            hint: `label` takes scans, which `assembled` gives

            error: `assembled` gives scans where outlines are expected
              --> vs.toml:20:20
               |
            20 | inputs = ["lines", "assembled"]
               |                    ^^^^^^^^^^^ an operator of type `volume`
            hint: `label` takes outlines, which `lines` gives
        "#]],
    );
    check(
        &with("type = \"train\"\ninputs = [\"fine\"]", "type = \"train\"\ninputs = [\"segment\"]"),
        expect![[r#"
            error: `segment` gives masks where cases are expected
              --> vs.toml:29:11
               |
            29 | inputs = ["segment"]
               |           ^^^^^^^^^ an operator of type `infer`
            hint: `train` takes cases, which `case` and `fine` give
        "#]],
    );
    check(
        &with("inputs = [\"scans\"]", "inputs = \"scans\""),
        expect![[r#"
        error: `inputs` takes a list of stage names
          --> vs.toml:16:10
           |
        16 | inputs = "scans"
           |          ^^^^^^^ text found
        hint: write `inputs = ["scans"]`
    "#]],
    );
    check(
        &with("inputs = [\"scans\"]", "inputs = [\"sources.scans\", 3]"),
        expect![[r#"
            error: `inputs` takes a list of stage names
              --> vs.toml:16:28
               |
            16 | inputs = ["sources.scans", 3]
               |                            ^ 3 found
        "#]],
    );
    check(
        &with("inputs = [\"scans\"]\n", ""),
        expect![[r#"
            error: `volume` needs `inputs`
              --> vs.toml:14:1
               |
            14 | [operators.assembled]
               | ^^^^^^^^^^^^^^^^^^^^^ `inputs` is missing
            hint: `volume` takes instances, which `scans` gives
        "#]],
    );
    check(
        &with("inputs = [\"segment\"]", "inputs = []"),
        expect![[r#"
            error: `tables` takes at least one input of rows
              --> vs.toml:40:10
               |
            40 | inputs = []
               |          ^^ none found
            hint: `tables` takes masks or metrics, which `segment` gives
        "#]],
    );
    check(
        &with("inputs = [\"segment\"]", "inputs = [\"segment\", \"segment\", \"masks\"]"),
        expect![[r#"
        error: `segment` is wired twice to `masks`
          --> vs.toml:40:22
           |
        40 | inputs = ["segment", "segment", "masks"]
           |                      ^^^^^^^^^ the second time

        error: `masks` takes itself as an input
          --> vs.toml:40:33
           |
        40 | inputs = ["segment", "segment", "masks"]
           |                                 ^^^^^^^ its own name
        hint: name the stage that comes before it
    "#]],
    );
    check(
        &with("model = \"net\"", "model = \"case\""),
        expect![[r#"
            error: `case` gives cases where a model is expected
              --> vs.toml:35:9
               |
            35 | model = "case"
               |         ^^^^^^ an operator of type `label`
            hint: `model` names a model, which `net` gives
        "#]],
    );
    check(
        &with("model = \"net\"", "model = \"nett\""),
        expect![[r#"
        error: there is no stage called `nett`
          --> vs.toml:35:9
           |
        35 | model = "nett"
           |         ^^^^^^ unknown stage
        hint: did you mean `net`?
    "#]],
    );
    check(
        &with("type = \"archive\"", "type = \"archive\"\ninputs = [\"lines\"]"),
        expect![[r#"
            error: `archive` has no field `inputs`
             --> vs.toml:7:1
              |
            7 | inputs = ["lines"]
              | ^^^^^^ unknown field
            hint: a source takes nothing from other stages
        "#]],
    );
    check(
        &with("inputs = [\"case\"]", "inputs = [\"masks\"]"),
        expect![[r#"
            error: `masks` is a sink and gives nothing, where scans or cases are expected
              --> vs.toml:24:11
               |
            24 | inputs = ["masks"]
               |           ^^^^^^^ a sink
            hint: `resample` takes scans or cases, which `assembled` and `case` give
        "#]],
    );
}

#[test]
fn circles() {
    let first = "[operators.a]\ntype = \"resample\"\ninputs = [\"b\"]\nspacing = [1, 1, 1]\n";
    let second = "[operators.b]\ntype = \"resample\"\ninputs = [\"c\"]\nspacing = [1, 1, 1]\n";
    let third = "[operators.c]\ntype = \"resample\"\ninputs = [\"a\"]\nspacing = [1, 1, 1]\n";
    check(
        &format!("{SOUND}\n{first}{second}{third}"),
        expect![[r#"
        error: `a` depends on itself
          --> vs.toml:44:11
           |
        44 | inputs = ["b"]
           |           ^^^ closes a circle
        hint: the circle is a → c → b → a
    "#]],
    );
    check(
        &with("inputs = [\"case\"]", "inputs = [\"fine\"]"),
        expect![[r#"
        error: `fine` takes itself as an input
          --> vs.toml:24:11
           |
        24 | inputs = ["fine"]
           |           ^^^^^^ its own name
        hint: name the stage that comes before it
    "#]],
    );
}

#[test]
fn warnings() {
    check(
        &with("keep = true", "").rewrite("\"segment\"", "\"more\"").rewrite(
            "[sinks.masks]",
            "[operators.more]\ntype = \"infer\"\ninputs = [\"fine\"]\nmodel = \"net\"\n\n[sinks.masks]",
        ),
        expect![[r#"
        warning: nothing uses `segment`
          --> vs.toml:32:12
           |
        32 | [operators.segment]
           |            ^^^^^^^ its output goes nowhere
        hint: name it in the `inputs` of a stage or sink, or set `keep = true`

    "#]],
    );
}
