//! `--set KEY=VALUE`.

use expect_test::expect;

use super::registry::SOUND;
use super::{check_with, parsed};
use crate::support::text::Rewrite as _;

#[test]
fn options_take_the_place_of_values() {
    let plan = parsed(
        SOUND,
        &[
            "operators.net.epochs=3",
            "operators.net.network.levels=2",
            "pipeline.memory=\"1 GiB\"",
            // The shell took the quotes away.
            "pipeline.device=cpu",
        ],
    )
    .unwrap();
    let net = plan.stages.iter().find(|stage| stage.name == "net").unwrap();
    assert_eq!(net.config["epochs"], 3);
    assert_eq!(net.config["network"]["levels"], 2);
    assert_eq!((plan.settings.memory_bytes, plan.settings.device.as_str()), (1 << 30, "cpu"));
}

#[test]
fn a_word_without_quotes_has_its_place() {
    check_with(
        SOUND,
        &["operators.net.epochs=many", "pipeline.device = gpu"],
        expect![[r#"
            error: `epochs` takes a whole number of at least 1
             --> --set:1:22
              |
            1 | operators.net.epochs=many
              |                      ^^^^ text found
            hint: passes over the training cases

            error: `device` takes `auto`, `cpu`, `cuda` or `cuda:N`
             --> --set:2:19
              |
            2 | pipeline.device = gpu
              |                   ^^^ `gpu` found
            hint: GPUs are counted from 0: `cuda:0` is the first
        "#]],
    );
}

#[test]
fn options_have_places() {
    let options = [
        "operators.net.epochs=0",
        "operators.nett.epochs=1",
        "pipeline.nmae=\"x\"",
        "=",
        "a",
        "pipeline.name.x=1",
        "[x]",
        "",
    ];
    check_with(
        SOUND,
        &options,
        expect![[r#"
            error: `epochs` takes a whole number of at least 1
             --> --set:1:22
              |
            1 | operators.net.epochs=0
              |                      ^ 0 found
            hint: passes over the training cases

            error: there is no stage `nett` under `operators`
             --> --set:2:11
              |
            2 | operators.nett.epochs=1
              |           ^^^^ unknown stage
            hint: did you mean `net`?

            error: `pipeline` has no field `nmae`
             --> --set:3:10
              |
            3 | pipeline.nmae="x"
              |          ^^^^ unknown field
            hint: did you mean `name`?

            error: a key is missing
             --> --set:4:1
              |
            4 | =
              | ^ expected here

            error: `=` expected after a key
             --> --set:5:2
              |
            5 | a
              |  ^ `=` expected here

            error: `name` is text, which has no keys
             --> --set:6:10
              |
            6 | pipeline.name.x=1
              |          ^^^^ not a table in the file
            hint: set the whole value instead

            error: an option sets one key
             --> --set:7:1
              |
            7 | [x]
              | ^^^ KEY=VALUE expected
            hint: for example `--set operators.net.epochs=3`

            error: an option sets one key
             --> --set:8:1
              |
            8 |
              | ^ KEY=VALUE expected
            hint: for example `--set operators.net.epochs=3`
        "#]],
    );
    check_with(
        &SOUND.rewrite("levels = 3", "levels = 99"),
        &["operators.net.network={type=\"unet\"}"],
        expect![[""]],
    );
}
