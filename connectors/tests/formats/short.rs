//! Scans as 16-bit integers: the same voxels as floats, or a named reason why not.

use std::path::{Path, PathBuf};

use crate::files::{SliceFile, samples};
use tomoflow_connectors::dicom::{Record, ShortError, Unfit, load_scan, load_short, read_record, walk};
use tomoflow_connectors::{Geometry, Scan, ShortScan, metaimage, nifti, nrrd};

/// The frames of a file on a grid of their size.
fn frames(path: &Path) -> Option<(Geometry, Vec<(PathBuf, u32)>)> {
    let Ok(Record::Instance(instance)) = read_record(path) else { return None };
    let [rows, columns] = instance.pixels.frame_size.map(|n| n as usize);
    let frames = instance.frames.len();
    let slices = (0..frames as u32).map(|frame| (path.to_owned(), frame)).collect();
    Some((Geometry::axis_aligned([frames, rows, columns], [1.0; 3]), slices))
}

#[test]
fn samples_are_the_same_as_integers() {
    let Some(folder) = samples() else { return };
    let (mut same, mut unfit) = (0, 0);
    for file in walk(&folder).unwrap() {
        let Some((geometry, slices)) = frames(&file.path) else { continue };
        let name = file.path.display();
        let short = load_short(&geometry, &slices);
        if let Err(ShortError::Unfit { .. }) = short {
            unfit += 1;
            continue;
        }
        match (short, load_scan(&geometry, &slices)) {
            (Ok(short), Ok(floats)) => {
                let values = short.voxels().iter().map(|&value| f32::from(value));
                assert!(values.eq(floats.voxels().iter().copied()), "{name}");
                same += 1;
            }
            (Err(ShortError::Reject(short)), Err(floats)) => assert_eq!(short.code, floats.code, "{name}"),
            (short, floats) => panic!("{name}: {:?}, {:?}", short.err(), floats.err()),
        }
    }
    println!("{same} files the same, {unfit} that need more");
    assert!(same >= 100 && unfit >= 10, "{same} files the same, {unfit} that need more");
}

/// What becomes of a slice of sixteen samples, 7 to 22, with other elements.
fn short(edit: impl Fn(&mut SliceFile)) -> Result<Vec<i16>, ShortError> {
    let folder = tempfile::tempdir().unwrap();
    let mut file = SliceFile::new(7);
    edit(&mut file);
    let path = file.write(folder.path(), "a.dcm");
    let geometry = Geometry::axis_aligned([1, 4, 4], [1.0; 3]);
    load_short(&geometry, &[(path, 0)]).map(|scan| scan.voxels().to_vec())
}

fn set_bits(file: &mut SliceFile, bits: u16, signed: u16) {
    file.set((0x0028, 0x0101), b"US", bits.to_le_bytes().to_vec())
        .set((0x0028, 0x0102), b"US", (bits - 1).to_le_bytes().to_vec())
        .set((0x0028, 0x0103), b"US", signed.to_le_bytes().to_vec());
}

fn set_rescale(file: &mut SliceFile, slope: &str, intercept: &str) {
    file.set((0x0028, 0x1053), b"DS", slope.into()).set((0x0028, 0x1052), b"DS", intercept.into());
}

#[test]
fn what_fits_is_rescaled_and_what_may_not_is_named() {
    let unfit = |edit: &dyn Fn(&mut SliceFile)| match short(edit).unwrap_err() {
        ShortError::Unfit { frame: 0, why } => why,
        other => panic!("{other}"),
    };
    let plain: Vec<i16> = (7..23).collect();
    assert_eq!(short(|file| set_bits(file, 15, 0)).unwrap(), plain);
    assert_eq!(short(|file| set_bits(file, 16, 1)).unwrap(), plain);
    let scaled = short(|file| {
        set_bits(file, 12, 0);
        set_rescale(file, "-8", "-8");
    });
    assert_eq!(scaled.unwrap(), plain.iter().map(|value| -8 * value - 8).collect::<Vec<_>>());
    // One value too many, at either end.
    assert_eq!(unfit(&|file| set_bits(file, 16, 0)), Unfit::Range { lowest: 0.0, highest: 65535.0 });
    let beyond = |file: &mut SliceFile| {
        set_bits(file, 16, 1);
        set_rescale(file, "1", "-1");
    };
    assert_eq!(unfit(&beyond), Unfit::Range { lowest: -32769.0, highest: 32766.0 });
    assert!(
        short(|file| {
            set_bits(file, 12, 0);
            set_rescale(file, "8", "7");
        })
        .is_ok()
    );
    let above = |file: &mut SliceFile| {
        set_bits(file, 12, 0);
        set_rescale(file, "8", "8");
    };
    assert_eq!(unfit(&above), Unfit::Range { lowest: 8.0, highest: 32768.0 });
    for (slope, intercept) in [(0.5, 0.0), (1.0, 0.25)] {
        let between = |file: &mut SliceFile| {
            set_bits(file, 12, 0);
            set_rescale(file, &slope.to_string(), &intercept.to_string());
        };
        assert_eq!(unfit(&between), Unfit::Rescale { slope, intercept });
    }
}

#[test]
fn wider_samples_and_floats_are_named() {
    let wide = short(|file| {
        file.set((0x0028, 0x0100), b"US", 32u16.to_le_bytes().to_vec());
        set_bits(file, 20, 1);
        file.set((0x7FE0, 0x0010), b"OW", vec![0; 64]);
    });
    assert_eq!(wide, Err(ShortError::Unfit { frame: 0, why: Unfit::Bits(20) }));
    let float = short(|file| {
        file.set((0x0028, 0x0100), b"US", 32u16.to_le_bytes().to_vec());
        file.set((0x7FE0, 0x0008), b"OF", vec![0; 64]).set((0x7FE0, 0x0010), b"OW", vec![0; 64]);
    });
    assert_eq!(float, Err(ShortError::Unfit { frame: 0, why: Unfit::Float }));
    let message = float.unwrap_err().to_string();
    assert_eq!(message, "16-bit integers expected, frame 0 may hold others: its samples are floating point");
}

#[test]
fn a_modality_table_counts_by_its_entries() {
    let table = |highest: u16| {
        move |file: &mut SliceFile| {
            let entries: Vec<u8> =
                (0..32).map(|n| if n == 9 { highest } else { n }).flat_map(u16::to_le_bytes).collect();
            let descriptor: Vec<u8> = [32u16, 0, 16].into_iter().flat_map(u16::to_le_bytes).collect();
            let mut item = crate::files::element((0x0028, 0x3002), b"US", &descriptor);
            item.extend(crate::files::element((0x0028, 0x3006), b"OW", &entries));
            let mut sequence = vec![0xFE, 0xFF, 0x00, 0xE0];
            sequence.extend((item.len() as u32).to_le_bytes());
            sequence.extend(item);
            file.set((0x0028, 0x3000), b"SQ", sequence);
        }
    };
    let mut expected: Vec<i16> = (7..23).collect();
    expected[2] = 32767;
    assert_eq!(short(table(32767)).unwrap(), expected);
    let why = Unfit::Range { lowest: 0.0, highest: 32768.0 };
    assert_eq!(short(table(32768)), Err(ShortError::Unfit { frame: 0, why }));
}

#[test]
fn a_file_of_integers_is_the_file_of_the_same_floats() {
    let folder = tempfile::tempdir().unwrap();
    let geometry = Geometry::axis_aligned([2, 3, 4], [1.5, 0.4, 0.4]);
    let short: Vec<i16> = (0..24).map(|n| (n - 12) * 2700).collect();
    let floats = Scan::new(geometry.clone(), short.iter().map(|&value| value.into()).collect()).unwrap();
    let short = ShortScan::new(geometry, short).unwrap();
    let [ours, theirs] = ["short", "floats"].map(|name| folder.path().join(name));
    let same = || std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap();
    nifti::write_scan(&ours, &short).and_then(|()| nifti::write_scan(&theirs, &floats)).unwrap();
    assert!(same());
    nrrd::write_scan(&ours, &short).and_then(|()| nrrd::write_scan(&theirs, &floats)).unwrap();
    assert!(same());
    metaimage::write_scan(&ours, &short).and_then(|()| metaimage::write_scan(&theirs, &floats)).unwrap();
    assert!(same());
}

#[test]
fn what_is_wrong_with_a_file_is_said_as_for_floats() {
    let code = |edit: &dyn Fn(&mut SliceFile)| match short(edit).unwrap_err() {
        ShortError::Reject(reject) => reject.code,
        other => panic!("{other}"),
    };
    let cut = |file: &mut SliceFile| {
        set_bits(file, 12, 0);
        file.set((0x7FE0, 0x0010), b"OW", vec![0; 8]);
    };
    assert_eq!(code(&cut), "TRUNCATED");
    let other = |file: &mut SliceFile| {
        file.set((0x0028, 0x0010), b"US", vec![2, 0]);
    };
    assert_eq!(code(&other), "MIXED_MATRIX");
    let none = load_short(&Geometry::axis_aligned([1, 4, 4], [1.0; 3]), &[]);
    assert!(matches!(none, Err(ShortError::Reject(reject)) if reject.code == "CHANGED"));
}
