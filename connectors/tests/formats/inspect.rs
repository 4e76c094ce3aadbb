//! Archives made of small files, and what inspecting them says: each kind of line, and its figures by hand.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tomoflow_connectors::dicom::inspect::{InspectEvent, InspectOptions, Total, inspect};

/// The lines of an archive, with file names alone instead of paths, and the total.
fn lines(folder: &Path, stats: bool) -> (Vec<Value>, Total) {
    let mut lines = Vec::new();
    let total = inspect(&[folder.to_owned()], InspectOptions { stats }, &mut |event| {
        if let InspectEvent::Found(finding) = event {
            lines.push(serde_json::to_value(finding).unwrap());
        }
        ControlFlow::Continue(())
    });
    let name = |path: &Value| json!(Path::new(path.as_str().unwrap()).file_name().unwrap().to_str().unwrap());
    for line in &mut lines {
        for paths in [line.get("files").cloned()].into_iter().flatten() {
            line["files"] = paths.as_array().unwrap().iter().map(name).collect();
        }
        for path in [line.get("file").cloned()].into_iter().flatten() {
            line["file"] = name(&path);
        }
    }
    (lines, total.unwrap().unwrap())
}

/// A file of another series, with a UID of its own.
fn of_series(series: &str, number: u16) -> SliceFile {
    let mut file = SliceFile::new(number);
    file.set((0x0008, 0x0018), b"UI", format!("{series}.{number}").into_bytes()).set(
        (0x0020, 0x000E),
        b"UI",
        series.as_bytes().to_vec(),
    );
    file
}

fn sha256(bytes: impl IntoIterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_volume_is_one_line_with_figures_that_a_hand_can_check() {
    let folder = tempfile::tempdir().unwrap();
    for number in [2, 0, 1] {
        let mut file = SliceFile::new(number);
        file.set((0x0028, 0x1052), b"DS", b"-10".to_vec());
        file.set((0x0028, 0x1053), b"DS", format!("{}", number + 1).into_bytes());
        // The name says the opposite of the position.
        file.write(folder.path(), &format!("{}.dcm", 9 - number));
    }
    let (lines, total) = lines(folder.path(), true);
    // Slice n holds n, n + 1, … n + 15, times n + 1, less 10: means -2.5, 7.0 and 18.5.
    let stored = (0..3u16).flat_map(|n| (n..n + 16).flat_map(u16::to_le_bytes));
    let expected = json!({
        "kind": "volume",
        "series_uid": "1.2.3.4",
        "part": 0,
        "files": ["9.dcm", "8.dcm", "7.dcm"],
        "shape": [3, 4, 4],
        "spacing_mm": [2.0, 0.5, 0.25],
        "affine_lps": [
            [0.25, 0.0, 0.0, -1.0],
            [0.0, 0.5, 0.0, -2.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 0.0, 0.0, 1.0]
        ],
        "modality": "CT",
        "notes": [],
        "min": -10.0,
        "max": 41.0,
        "mean": 23.0 / 3.0,
        "sha256_stored": sha256(stored),
    });
    assert_eq!(lines, [expected]);
    let counts = (total.files, total.instances, total.series, total.volumes);
    assert_eq!(counts, (3, 3, 1, 1));
    assert!(total.bytes > 3 * 32 && total.rejects.is_empty() && total.skipped.is_empty());
}

#[test]
fn figures_are_of_what_is_stored_however_it_is() {
    let values: Vec<i16> = (0..16).map(|n| n * 100 - 800).collect();
    let plain: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let write = |folder: &Path, number: u16, pixels: Vec<u8>, change: &dyn Fn(&mut SliceFile)| {
        let mut file = SliceFile::new(number);
        file.set((0x0028, 0x0103), b"US", vec![1, 0]).set((0x7FE0, 0x0010), b"OW", pixels);
        change(&mut file);
        file.write(folder, &number.to_string());
    };
    let figures = |folder: &Path| {
        let line = lines(folder, true).0.remove(0);
        (line["min"].as_f64(), line["max"].as_f64(), line["mean"].as_f64(), line["sha256_stored"].clone())
    };
    let signed = tempfile::tempdir().unwrap();
    (0..2).for_each(|number| write(signed.path(), number, plain.clone(), &|_| {}));
    let both = sha256([plain.clone(), plain.clone()].concat());
    assert_eq!(figures(signed.path()), (Some(-800.0), Some(700.0), Some(-50.0), json!(both)));

    // Twelve bits with garbage above them: values are masked, what is stored is told as it is.
    let garbage = tempfile::tempdir().unwrap();
    let dirty: Vec<u8> = values.iter().flat_map(|value| (value & 0x0FFF | 0x5000).to_le_bytes()).collect();
    let twelve = |file: &mut SliceFile| {
        file.set((0x0028, 0x0101), b"US", vec![12, 0]).set((0x0028, 0x0102), b"US", vec![11, 0]);
    };
    (0..2).for_each(|number| write(garbage.path(), number, dirty.clone(), &twelve));
    let both = sha256([dirty.clone(), dirty.clone()].concat());
    assert_eq!(figures(garbage.path()), (Some(-800.0), Some(700.0), Some(-50.0), json!(both)));
}

#[test]
fn a_split_series_is_several_parts() {
    let folder = tempfile::tempdir().unwrap();
    for (number, echo) in [(0, "10"), (1, "10"), (2, "20"), (3, "20")] {
        let mut file = SliceFile::new(number);
        file.set((0x0018, 0x0081), b"DS", echo.as_bytes().to_vec());
        file.set((0x0020, 0x0032), b"DS", format!("-1\\-2\\{}", number % 2 * 2).into_bytes());
        file.write(folder.path(), &number.to_string());
    }
    let (lines, total) = lines(folder.path(), false);
    let parts: Vec<_> = lines.iter().map(|line| (line["part"].clone(), line["files"].clone())).collect();
    assert_eq!(parts, [(json!(0), json!(["0", "1"])), (json!(1), json!(["2", "3"]))]);
    for line in &lines {
        assert_eq!(line["notes"], json!(["DUPLICATE_POSITION: split by EchoTime"]));
        assert!(line.get("sha256_stored").is_none());
    }
    assert_eq!((total.series, total.volumes), (1, 2));
}

#[test]
fn rejects_name_their_files_and_those_at_fault_first() {
    let folder = tempfile::tempdir().unwrap();
    let write = |series: &str, number: u16, name: &str| of_series(series, number).write(folder.path(), name);
    for (number, name) in [(0, "gap0"), (1, "gap1"), (3, "gap3")] {
        write("1.1", number, name);
    }
    for number in 0..3 {
        let path = write("1.2", number, &format!("cut{number}"));
        if number == 2 {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        }
    }
    for (number, name) in [(0, "twice0"), (1, "twice1"), (1, "twice2")] {
        let mut file = of_series("1.3", number);
        if name == "twice2" {
            file.set((0x7FE0, 0x0010), b"OW", vec![9; 32]);
        }
        file.write(folder.path(), name);
    }
    // A stack that stays, with a scout beside it.
    write("1.4", 0, "stack0");
    write("1.4", 1, "stack1");
    let mut scout = of_series("1.4", 2);
    scout
        .set((0x0008, 0x0008), b"CS", b"ORIGINAL\\PRIMARY\\LOCALIZER".to_vec())
        .write(folder.path(), "scout");
    let (lines, total) = lines(folder.path(), false);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["series_uid"].as_str().unwrap(), line["code"].as_str(), line["files"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("1.1", Some("MISSING_SLICE"), json!(["gap0", "gap1", "gap3"])),
            ("1.2", Some("TRUNCATED"), json!(["cut2", "cut0", "cut1"])),
            ("1.3", Some("UID_CONFLICT"), told[2].2.clone()),
            ("1.4", None, json!(["stack0", "stack1"])),
            ("1.4", Some("LOCALIZER"), json!(["scout"])),
        ]
    );
    let mut conflict: Vec<_> =
        told[2].2.as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(conflict.pop(), Some("twice0"));
    conflict.sort_unstable();
    assert_eq!(conflict, ["twice1", "twice2"]);
    let keys: Vec<_> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["kind", "series_uid", "files", "code", "message", "hint"]);
    assert_eq!(lines[0]["kind"], "reject");
    for line in lines.iter().filter(|line| line["kind"] == "reject") {
        assert!(!line["message"].as_str().unwrap().is_empty() && !line["hint"].as_str().unwrap().is_empty());
    }
    let rejects: Vec<_> = total.rejects.iter().map(|(code, &count)| (code.as_str(), count)).collect();
    assert_eq!(rejects, [("LOCALIZER", 1), ("MISSING_SLICE", 1), ("TRUNCATED", 1), ("UID_CONFLICT", 1)]);
}

#[test]
fn what_cannot_be_decoded_is_refused_once_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2 {
        let mut file = SliceFile::new(number);
        // RLE whose only fragment is damaged: the header shows nothing of it.
        let item = |bytes: &[u8]| {
            [&[0xFE, 0xFF, 0x00, 0xE0], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
        };
        let mut fragment = vec![2, 0, 0, 0];
        fragment.resize(80, 0);
        let pixels = [item(&[]), item(&fragment), vec![0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]].concat();
        file.set((0x7FE0, 0x0010), b"OB", Vec::new());
        let mut bytes = file.bytes();
        let length = bytes.len() - 4;
        bytes[length..].fill(0xFF);
        bytes.extend(pixels);
        let syntax = bytes.windows(19).position(|run| run == b"1.2.840.10008.1.2.1").unwrap();
        let meta = crate::files::element((0x0002, 0x0010), b"UI", b"1.2.840.10008.1.2.5");
        bytes.splice(syntax - 8..syntax + 20, meta);
        std::fs::write(folder.path().join(number.to_string()), bytes).unwrap();
    }
    assert_eq!(lines(folder.path(), false).0[0]["kind"], "volume");
    let (lines, total) = lines(folder.path(), true);
    assert_eq!((lines.len(), &lines[0]["code"]), (1, &json!("DECODE_FAILED")));
    assert_eq!((total.volumes, total.rejects["DECODE_FAILED"]), (0, 1));
}

#[test]
fn files_without_images_are_skipped_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no image at all").unwrap();
    std::fs::write(folder.path().join("magic"), [&[0; 128][..], b"DICM"].concat()).unwrap();
    let mut dose = SliceFile::new(0);
    dose.set((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.481.2".to_vec()).write(folder.path(), "dose");
    let (lines, total) = lines(folder.path(), false);
    let skip = |file: &str, code: &str| json!({ "kind": "skip", "file": file, "code": code });
    assert_eq!(
        lines,
        [
            skip("dose", "NOT_AN_IMAGE"),
            skip("empty", "EMPTY_FILE"),
            skip("magic", "NO_DATASET"),
            skip("notes.txt", "NOT_DICOM"),
        ]
    );
    assert_eq!((total.files, total.instances, total.skipped.len()), (4, 0, 4));
}

#[test]
fn many_series_come_in_one_order_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for series in 0..70 {
        for number in 0..2 {
            of_series(&format!("1.{series}"), number).write(folder.path(), &format!("{number}-{series}"));
        }
    }
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| lines(folder.path(), true).0)
    };
    let (one, four) = (on(1), on(4));
    assert_eq!(one.len(), 70);
    assert_eq!(one, four);
    let uids: Vec<_> = one.iter().map(|line| line["series_uid"].as_str().unwrap().to_owned()).collect();
    assert!(uids.is_sorted());
}

#[test]
fn a_root_that_is_not_there_is_an_error_and_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    SliceFile::new(0).write(folder.path(), "a");
    let mut told = 0;
    let roots: [PathBuf; 2] = [folder.path().to_owned(), folder.path().join("missing")];
    let outcome = inspect(&roots, InspectOptions::default(), &mut |_| {
        told += 1;
        ControlFlow::Continue(())
    });
    assert!(outcome.unwrap_err().to_string().contains("missing"));
    assert_eq!(told, 0);
}

#[test]
fn padding_is_left_out_of_figures_and_counted() {
    // Samples from 4 to 16 over two slices, and four of padding in each; values are twice that, and one more.
    let figures = |padding: &[(u16, &[u8; 2], i16)], signed: bool, first: i16| {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2 {
            let mut file = of_series("1.1", number);
            let samples = (0..16).map(|at| if at < 4 { first - at / 2 } else { number as i16 + at });
            file.set((0x7FE0, 0x0010), b"OW", samples.flat_map(i16::to_le_bytes).collect())
                .set((0x0028, 0x0103), b"US", vec![u8::from(signed), 0])
                .set((0x0028, 0x1053), b"DS", b"2".to_vec())
                .set((0x0028, 0x1052), b"DS", b"1".to_vec());
            for (element, vr, value) in padding {
                file.set((0x0028, *element), vr, value.to_le_bytes().to_vec());
            }
            file.write(folder.path(), &number.to_string());
        }
        let line = lines(folder.path(), true).0.remove(0);
        let number = |name: &str| line[name].as_f64().unwrap();
        (number("min"), number("max"), number("mean"), line["padding"].as_u64())
    };
    let of_rest = (9.0, 33.0, (4..16).map(|at| f64::from(4 * at + 4)).sum::<f64>() / 24.0, Some(8));
    // Declared with and against the representation of the samples, and as a range in either order.
    for vr in [b"SS", b"US"] {
        assert_eq!(figures(&[(0x0120, vr, -2000), (0x0121, vr, -2001)], true, -2000), of_rest);
        assert_eq!(figures(&[(0x0120, vr, -2001), (0x0121, vr, -2000)], true, -2000), of_rest);
        let (min, max, _, count) = figures(&[(0x0120, vr, -2000)], true, -2000);
        assert_eq!((min, max, count), (-4001.0, 33.0, Some(4)));
    }
    let (min, max, _, count) = figures(&[(0x0120, b"SS", -1), (0x0121, b"SS", -2)], false, -1);
    assert_eq!((min, max, count), (9.0, 33.0, Some(8)));
    // Nothing is left out that nobody declared.
    assert_eq!(figures(&[], true, -2000).3, None);
}
