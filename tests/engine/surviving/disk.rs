//! A disk that refuses.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Workplace, assert_same, contents};
use crate::surviving::{assert_complete, reject};

#[test]
fn a_disk_that_was_full_for_a_moment_costs_nothing() {
    let place = Workplace::new(2);
    let run = place.run_to("artifact.staged:1:full", &[]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(place.tables()["rejects"].len(), 0);
    assert_same(&place.tables(), &place.anew(), "after a retry");
}

#[test]
fn a_full_disk_is_a_row_with_a_hint_until_there_is_space() {
    let place = Workplace::new(2);
    let run = place.run_to("artifact.staged:1:full", &["--set", "operators.bright.retries=0"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let row = reject(&place);
    assert_eq!((row.code.as_str(), row.stage.as_str(), row.attempts), ("STORE", "bright", 1));
    assert!(row.message.contains("no storage space"), "{row:?}");
    assert!(row.hint.contains("free some space"), "{row:?}");
    assert_eq!(fs::read_dir(place.out().join("store/staging")).unwrap().count(), 0);
    assert_complete(&place, "with space");
}

#[test]
fn a_table_on_a_full_disk_ends_the_run_and_the_next_one_completes_it() {
    for count in 1..=3 {
        let place = Workplace::new(2);
        let run = place.run_to(&format!("table.staged:{count}:full"), &[]);
        assert_eq!(run.code, Some(74), "{}", run.err);
        assert!(run.err.contains("could not be written"), "{}", run.err);
        assert!(run.err.contains("hint: free some space"), "{}", run.err);
        // Every outcome is there: the next run only writes tables.
        let run = place.tomoflow("run", &[]);
        assert_eq!((run.code, run.started().len()), (Some(0), 0), "{}", run.err);
        assert_same(&place.tables(), &place.anew(), "with space");
    }
}

/// Runs a script of a shell as root of a mount namespace of its own; none where the system permits none.
fn mounted(script: &str, place: &Workplace, arguments: &[&str]) -> Option<(Option<i32>, String)> {
    let permitted = |options: &str| {
        let mut probe = Command::new("unshare");
        let probe = probe.args([options, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(options) = ["-m", "-rm"].into_iter().find(|options| permitted(options)) else {
        println!("skipped: this system permits no mount namespaces");
        return None;
    };
    let mut shell = Command::new("unshare");
    shell.args([options, "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_tomoflow")]);
    shell.arg(place.pipeline()).arg(place.out()).args(arguments);
    shell.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
    let output = shell.output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Workplace::new(3);
    let expected = place.anew();
    let kept = place.path().join("kept");
    // $1 the command, $2 the pipeline, $3 its output, $4 how large its disk is, $5 where it is kept.
    let script = "mkdir -p $3 && mount -t tmpfs -o size=$4 tmpfs $3 || exit 99
        $1 run $2 >/dev/null; code=$?
        mount -o remount,size=64m $3 || exit 99
        $1 run $2 >/dev/null || exit 98
        rm -rf $5 && cp -a $3 $5 || exit 97
        exit $code";
    let mut refused = 0;
    for size in ["64k", "1300k", "1600k", "1700k", "1800k", "1900k", "2000k", "2200k", "64m"] {
        let Some((code, err)) = mounted(script, &place, &[size, kept.to_str().unwrap()]) else { return };
        let code = code.unwrap_or_else(|| panic!("{size}: {err}"));
        assert!([0, 1, 65, 74].contains(&code), "{size}: {code}: {err}");
        if code != 0 {
            refused += 1;
        }
        if code == 74 {
            assert!(err.contains("No space left on device") && err.contains("hint: "), "{size}: {err}");
        }
        assert_same(&contents(&kept), &expected, size);
    }
    assert!((1..9).contains(&refused), "{refused} of 9 sizes were too small");
}

#[test]
fn a_read_only_output_is_told_and_can_still_be_looked_at() {
    let place = Workplace::new(2);
    place.run();
    let before = place.tables();
    place.add(2);
    let script = "mount --bind $3 $3 && mount -o remount,ro,bind $3 || exit 99
        $1 plan $2 || exit 98
        $1 verify $2 >/dev/null || exit 97
        $1 run $2 && exit 96
        exit $?";
    let Some((code, err)) = mounted(script, &place, &[]) else { return };
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("Read-only file system"), "{err}");
    assert!(err.contains("hint: make the pipeline's `out` writable"), "{err}");
    assert_same(&place.tables(), &before, "read-only");
    assert_complete(&place, "writable again");
}

#[test]
fn an_output_that_was_never_written_and_cannot_be_is_told() {
    let place = Workplace::new(1);
    fs::create_dir(place.out()).unwrap();
    let script = "mount --bind $3 $3 && mount -o remount,ro,bind $3 || exit 99
        $1 plan $2 >/dev/null || exit 98
        $1 run $2 && exit 96
        exit $?";
    let Some((code, err)) = mounted(script, &place, &[]) else { return };
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("Read-only file system") && err.contains("hint: "), "{err}");
}
