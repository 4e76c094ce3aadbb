//! Which voxels only pad a scan, as its files say it.

use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::{
    HeaderReader, Record, load_scan_between, padding_of, padding_values, read_record,
};

const VALUE: (u16, u16) = (0x0028, 0x0120);
const LIMIT: (u16, u16) = (0x0028, 0x0121);

fn word(value: i16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// Slices 0 to 2, whose pixels are `number`, `number + 1`, …, changed.
fn slices(folder: &Path, change: impl Fn(u16, &mut SliceFile)) -> Vec<(PathBuf, u32)> {
    let slice = |number: u16| {
        let mut file = SliceFile::new(number);
        change(number, &mut file);
        (file.write(folder, &format!("{number}.dcm")), 0)
    };
    (0..3).map(slice).collect()
}

/// The padded voxels, by their places in the volume.
fn padded(slices: &[(PathBuf, u32)], depth: usize, heights: &[f64]) -> Vec<usize> {
    let grid = Geometry::axis_aligned([depth, 4, 4], [2.0, 0.5, 0.25]);
    let scan = load_scan_between(&grid, slices, heights).unwrap();
    let Some(padding) = padding_of(&scan, slices, heights).unwrap() else { return Vec::new() };
    assert_eq!(padding.geometry(), scan.geometry());
    (0..padding.voxels().len()).filter(|at| padding.voxels()[*at] != 0).collect()
}

#[test]
fn a_value_and_a_range_pad_whatever_the_slope() {
    let folder = tempfile::tempdir().unwrap();
    let one = slices(folder.path(), |_, file| {
        file.set(VALUE, b"US", word(3));
    });
    assert_eq!(padded(&one, 3, &[]), [3, 16 + 2, 32 + 1]);
    // A range, given from its upper end, of rescaled slices; the middle one has no padding.
    let range = slices(folder.path(), |number, file| {
        file.set((0x0028, 0x1052), b"DS", b"-1000".to_vec()).set((0x0028, 0x1053), b"DS", b"-2.5".to_vec());
        if number != 1 {
            file.set(VALUE, b"US", word(4)).set(LIMIT, b"US", word(2));
        }
    });
    assert_eq!(padded(&range, 3, &[]), [2, 3, 4, 32, 33, 34]);
    assert!(padded(&slices(folder.path(), |_, _| {}), 3, &[]).is_empty());
}

#[test]
fn a_plane_between_slices_is_padded_where_either_of_them_is() {
    let folder = tempfile::tempdir().unwrap();
    let files = slices(folder.path(), |_, file| {
        file.set(VALUE, b"US", word(3));
    });
    assert_eq!(padded(&files, 4, &[0.0, 1.0, 3.0]), [3, 16 + 2, 32 + 1, 32 + 2, 48 + 1]);
}

#[test]
fn a_record_notes_it_however_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let notes = |change: &dyn Fn(&mut SliceFile)| -> Vec<String> {
        let mut file = SliceFile::new(1);
        change(&mut file);
        let path = file.write(folder.path(), "one.dcm");
        let whole = read_record(&path).unwrap();
        let notes = |record| match record {
            Record::Instance(instance) => (instance.notes, instance.frames),
            other => panic!("an instance expected, {other:?} found"),
        };
        // A reader of headers takes no digests of what follows.
        let (whole, head) = (notes(whole), notes(HeaderReader::default().read(&path).unwrap()));
        assert_eq!(head, whole);
        whole.0
    };
    let padding = |notes: Vec<String>| notes.iter().find_map(|note| padding_values(note).map(str::to_owned));
    assert_eq!(padding(notes(&|_| {})), None);
    let noted = |value: Vec<u8>| {
        let change = |file: &mut SliceFile| {
            file.set(VALUE, b"SS", value.clone());
        };
        padding(notes(&change))
    };
    // The values are said, so that other ones are another scan; as samples without a sign, as these are.
    assert_eq!(noted(word(-2000)).as_deref(), Some("63536"));
    // An empty value says nothing.
    assert_eq!(noted(Vec::new()), None);
}

#[test]
fn what_pads_is_no_part_of_the_content_of_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let content = |value: Option<i16>| {
        let mut file = SliceFile::new(1);
        if let Some(value) = value {
            file.set(VALUE, b"SS", word(value));
        }
        let Record::Instance(instance) = read_record(&file.write(folder.path(), "one.dcm")).unwrap() else {
            panic!("an instance expected")
        };
        instance.content
    };
    assert_eq!(content(None), content(Some(3)));
}
