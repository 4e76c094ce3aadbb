//! Two acquisitions of one series whose slices lie between one another, by what their files say of them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use tomoflow_connectors::dicom::inspect::{Finding, InspectEvent, InspectOptions, inspect};
use tomoflow_connectors::dicom::{
    Instance, Record, Rules, StackPart, assemble, assemble_asking, read_record,
};

type Tag = (u16, u16);
const INSTANCE_NUMBER: Tag = (0x0020, 0x0013);
const THICKNESS: Tag = (0x0018, 0x0050);

/// The files of two passes of six slices each, 4 mm thick and 4 mm apart, the second 2 mm beside the first; `say` adds
/// what slice `k` of pass `t` says.
fn written(folder: &Path, say: &dyn Fn(&mut SliceFile, usize, u16)) -> Vec<PathBuf> {
    let passes = (0..2usize).flat_map(|t| (0..6u16).map(move |k| (t, k)));
    let one = |(t, k): (usize, u16)| {
        let mut file = SliceFile::new(2 * k + t as u16);
        file.set(THICKNESS, b"DS", b"4".to_vec());
        // Numbers follow the positions, unless a test says otherwise.
        file.set(INSTANCE_NUMBER, b"IS", (2 * k + t as u16 + 1).to_string().into_bytes());
        say(&mut file, t, k);
        file.write(folder, &format!("{t}{k}.dcm"))
    };
    passes.map(one).collect()
}

fn read(paths: &[PathBuf]) -> Vec<Instance> {
    let one = |path: &PathBuf| match read_record(path).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("{other:?}"),
    };
    paths.iter().map(one).collect()
}

/// The slices of each part, or the code of its refusal; with the notes of the first.
fn told(parts: Vec<StackPart>) -> (Vec<String>, Vec<String>) {
    let notes = parts.first().and_then(|part| Some(part.verdict.as_ref().ok()?.notes.clone()));
    let one = |part: StackPart| match part.verdict {
        Ok(stack) => stack.geometry.size[0].to_string(),
        Err(reject) => reject.code,
    };
    (parts.into_iter().map(one).collect(), notes.unwrap_or_default())
}

/// What comes of the records alone.
fn known(say: &dyn Fn(&mut SliceFile, usize, u16)) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let instances = read(&written(folder.path(), say));
    told(assemble(&instances.iter().collect::<Vec<_>>()))
}

/// What comes of the records, and of what files say beyond them.
fn asked(say: &dyn Fn(&mut SliceFile, usize, u16)) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = written(folder.path(), say);
    let instances = read(&paths);
    let all: Vec<&Instance> = instances.iter().collect();
    let file = |index: usize| paths.get(index).map(PathBuf::as_path);
    told(assemble_asking(&all, Rules::default(), file, |_, _| false))
}

fn parts(slices: &[&str], note: &str) -> (Vec<String>, Vec<String>) {
    let notes = (!note.is_empty()).then(|| note.to_owned());
    (slices.iter().map(|part| (*part).to_owned()).collect(), notes.into_iter().collect())
}

fn split_by(attribute: &str) -> (Vec<String>, Vec<String>) {
    parts(&["6", "6"], &format!("INTERLEAVED_ACQUISITIONS: split by {attribute}"))
}

#[test]
fn passes_that_differ_in_what_no_record_keeps_are_told_apart_by_their_files() {
    let tags: [(&str, Tag, &[u8; 2], [&str; 2]); 4] = [
        ("KVP", (0x0018, 0x0060), b"DS", ["80", "140"]),
        ("ConvolutionKernel", (0x0018, 0x1210), b"SH", ["B30f", "B70f"]),
        ("ContrastBolusAgent", (0x0018, 0x0010), b"LO", ["", "Gd"]),
        ("FlipAngle", (0x0018, 0x1314), b"DS", ["5", "15"]),
    ];
    for (keyword, tag, vr, values) in tags {
        let say = |file: &mut SliceFile, t: usize, _: u16| {
            if !values[t].is_empty() {
                file.set(tag, vr, values[t].as_bytes().to_vec());
            }
        };
        assert_eq!(known(&say), parts(&["12"], ""), "{keyword}: records alone do not know");
        assert_eq!(asked(&say), split_by(keyword));
    }
    // A pass of which one slice says what the other pass says is no whole stack, and no stack of both is made.
    let torn = |file: &mut SliceFile, t: usize, k: u16| {
        let value = if t == 0 || k == 2 { "80" } else { "140" };
        file.set((0x0018, 0x0060), b"DS", value.as_bytes().to_vec());
    };
    assert_eq!(asked(&torn), parts(&["ALTERNATING_SLICES"], ""));
}

#[test]
fn passes_that_say_the_same_are_one_stack() {
    let same = |file: &mut SliceFile, _: usize, _: u16| {
        file.set((0x0018, 0x0060), b"DS", b"120".to_vec());
    };
    assert_eq!(asked(&same), parts(&["12"], ""));
    // The dose follows the patient from slice to slice.
    let modulated = |file: &mut SliceFile, t: usize, k: u16| {
        file.set((0x0018, 0x0060), b"DS", format!("{}", 120 + k % 2 + t as u16).into_bytes());
    };
    assert_eq!(asked(&modulated), parts(&["12"], ""));
}

#[test]
fn weightings_and_kinds_of_images_are_told_apart_without_another_look() {
    let weighted = |file: &mut SliceFile, t: usize, _: u16| {
        file.set((0x0018, 0x9087), b"FD", [0.0f64, 1000.0][t].to_le_bytes().to_vec());
    };
    assert_eq!(known(&weighted), split_by("DiffusionBValue"));
    let phase = |file: &mut SliceFile, t: usize, _: u16| {
        let kind = ["ORIGINAL\\PRIMARY\\M\\ND", "ORIGINAL\\PRIMARY\\P\\ND"][t];
        file.set((0x0008, 0x0008), b"CS", kind.as_bytes().to_vec());
    };
    assert_eq!(known(&phase), split_by("ImageType"));
    let derived = |file: &mut SliceFile, t: usize, _: u16| {
        let kind = ["ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\PRIMARY\\AXIAL"][t];
        file.set((0x0008, 0x0008), b"CS", kind.as_bytes().to_vec());
    };
    assert_eq!(known(&derived), split_by("ImageType"));
    let later = |file: &mut SliceFile, t: usize, _: u16| {
        file.set((0x0008, 0x0032), b"TM", ["101500", "102000"][t].as_bytes().to_vec());
    };
    assert_eq!(known(&later), split_by("AcquisitionTime"));
}

#[test]
fn overlapping_slices_numbered_one_pass_after_another_are_two_stacks() {
    let number = |file: &mut SliceFile, number: u16| {
        file.set(INSTANCE_NUMBER, b"IS", number.to_string().into_bytes());
    };
    let up = |file: &mut SliceFile, t: usize, k: u16| number(file, 6 * t as u16 + k + 1);
    let down = |file: &mut SliceFile, t: usize, k: u16| number(file, if t == 0 { k + 1 } else { 12 - k });
    for passes in [&up as &dyn Fn(&mut SliceFile, usize, u16), &down] {
        assert_eq!(known(passes), split_by("InstanceNumber"));
    }
    // Packages of one stack: they do not overlap, or are planned to.
    let thin = |file: &mut SliceFile, t: usize, k: u16| {
        up(file, t, k);
        file.set(THICKNESS, b"DS", b"2".to_vec());
    };
    let planned = |file: &mut SliceFile, t: usize, k: u16| {
        up(file, t, k);
        file.set((0x0018, 0x0088), b"DS", b"2".to_vec());
    };
    for packages in [&thin as &dyn Fn(&mut SliceFile, usize, u16), &planned] {
        assert_eq!(known(packages), parts(&["12"], ""));
        assert_eq!(asked(packages), parts(&["12"], ""));
    }
}

#[test]
fn stacks_of_one_file_are_told_apart_or_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let instances = read(&written(folder.path(), &|_, _, _| {}));
    let stacked = |of: &dyn Fn(usize) -> &'static str| {
        let mut instances = instances.clone();
        for (place, instance) in instances.iter_mut().enumerate() {
            instance.frames[0].order.insert("StackID".into(), of(place).to_owned());
        }
        told(assemble(&instances.iter().collect::<Vec<_>>()))
    };
    // The first six slices lie between the last six.
    assert_eq!(stacked(&|place| ["20", "21"][place / 6]), split_by("StackID"));
    // End to end, above the other.
    let note = "SEVERAL_STACKS: slices of 2 StackIDs are one scan";
    assert_eq!(stacked(&|place| ["1", "2"][place % 6 / 3]), parts(&["12"], note));
    assert_eq!(stacked(&|_| "1"), parts(&["12"], ""));
}

#[test]
fn inspect_asks_as_well() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &|file, t, _| {
        file.set((0x0018, 0x0060), b"DS", ["80", "140"][t].as_bytes().to_vec());
    });
    let mut found = Vec::new();
    inspect(&[folder.path().to_owned()], InspectOptions::default(), &mut |event| {
        if let InspectEvent::Found(Finding::Volume(volume)) = event {
            found.push((volume.shape[0], volume.notes.clone()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let note = "INTERLEAVED_ACQUISITIONS: split by KVP".to_owned();
    assert_eq!(found, [(6, vec![note.clone()]), (6, vec![note])]);
}
