//! An instance that is there twice, stored in different ways: one is dropped when both decode to the same.

use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use crate::jpeg::{Writing, encode};
use tomoflow_connectors::Reject;
use tomoflow_connectors::dicom::{
    Assembled, Instance, Record, Rules, assemble, assemble_comparing, read_record, same_values,
};

const RLE: &str = "1.2.840.10008.1.2.5";
const LOSSLESS: &str = "1.2.840.10008.1.2.4.70";

/// The samples of slice `number`.
fn samples(number: u16) -> Vec<u16> {
    (number..number + 16).collect()
}

fn rle(samples: &[u16]) -> Vec<u8> {
    let planes = [1, 0].map(|byte| {
        let plane = samples.iter().map(|sample| sample.to_le_bytes()[byte]);
        [vec![15], plane.collect(), vec![128]].concat()
    });
    let header = [2u32, 64, 64 + planes[0].len() as u32];
    let mut frame: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    frame.resize(64, 0);
    [frame, planes.concat()].concat()
}

fn lossless(samples: &[u16]) -> Vec<u8> {
    let writing = Writing { precision: 16, predictor: 1, left_out: 0, lines: 0, long_codes: false };
    let mut stream = encode(samples, [4, 4], writing);
    stream.resize(stream.len().next_multiple_of(2), 0);
    stream
}

fn write(folder: &Path, name: &str, number: u16, packed: Option<(&str, Vec<u8>)>) -> PathBuf {
    let mut file = SliceFile::new(number);
    let bytes = match packed {
        Some((syntax, stream)) => file.in_fragments(&stream, syntax),
        None => file.bytes(),
    };
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn assembled(paths: &[PathBuf]) -> Vec<Result<Assembled, Reject>> {
    let read = |path: &PathBuf| match read_record(path).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("{other:?}"),
    };
    let instances: Vec<Instance> = paths.iter().map(read).collect();
    let all: Vec<&Instance> = instances.iter().collect();
    let same = |a: usize, b: usize| same_values((&paths[a], all[a]), (&paths[b], all[b]));
    // Without a look at the files there is no telling.
    assert!(assemble(&all).iter().all(|part| part.verdict.as_ref().is_err_and(|e| e.code == "UID_CONFLICT")));
    assemble_comparing(&all, Rules::default(), same).into_iter().map(|part| part.verdict).collect()
}

#[test]
fn copies_of_the_same_samples_are_dropped_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for number in 0..4 {
        paths.push(write(folder.path(), &format!("rle{number}"), number, Some((RLE, rle(&samples(number))))));
        paths.push(write(folder.path(), &format!("raw{number}"), number, None));
        if number < 2 {
            let stream = lossless(&samples(number));
            paths.push(write(folder.path(), &format!("jpeg{number}"), number, Some((LOSSLESS, stream))));
        }
    }
    let verdicts = assembled(&paths);
    let [Ok(stack)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!(stack.notes, ["DUPLICATE_INSTANCE: 6 dropped"]);
    // The plain ones stay, whatever the order.
    let kept = |slices: &Assembled, paths: &[PathBuf]| {
        slices.slices.iter().all(|slice| paths[slice.instance].to_str().unwrap().contains("raw"))
    };
    assert!(kept(stack, &paths));
    paths.reverse();
    assert!(kept(assembled(&paths)[0].as_ref().unwrap(), &paths));
}

#[test]
fn a_copy_that_differs_or_is_damaged_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = samples(1);
    other[7] += 1;
    let damaged = rle(&samples(1))[..70].to_vec();
    for stream in [rle(&other), damaged] {
        let paths = [
            write(folder.path(), "raw0", 0, None),
            write(folder.path(), "raw1", 1, None),
            write(folder.path(), "rle1", 1, Some((RLE, stream))),
        ];
        let verdicts = assembled(&paths);
        assert!(verdicts.iter().all(|found| found.as_ref().is_err_and(|e| e.code == "UID_CONFLICT")));
    }
}
