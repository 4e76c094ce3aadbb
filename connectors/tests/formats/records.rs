//! Files to records and scans: digests, surrogates, refusals, and damage of every kind.

use std::path::{Path, PathBuf};

use crate::files::SliceFile;
use proptest::prelude::*;
use tomoflow_connectors::dicom::{Instance, Record, assemble, load_scan, read_record, walk};
use tomoflow_connectors::rtstruct::read_structures;

fn instance(path: &Path) -> Instance {
    match read_record(path).unwrap() {
        Record::Instance(instance) => instance,
        other => panic!("an instance expected, {other:?} found"),
    }
}

fn of(file: &SliceFile) -> Instance {
    let folder = tempfile::tempdir().unwrap();
    instance(&file.write(folder.path(), "a.dcm"))
}

fn skip_code(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    match read_record(&path).unwrap() {
        Record::Skip { code } => code,
        other => panic!("a skip expected, {other:?} found"),
    }
}

#[test]
fn a_series_of_three_files_becomes_a_scan() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = [2, 0, 1]
        .map(|number| {
            let mut file = SliceFile::new(number);
            file.set((0x0028, 0x1052), b"DS", b"-10".to_vec());
            file.set((0x0028, 0x1053), b"DS", format!("{}", number + 1).into_bytes());
            file.write(folder.path(), &format!("{number}.dcm"))
        })
        .to_vec();
    let instances: Vec<_> = files.iter().map(|path| instance(path)).collect();
    let parts = assemble(&instances.iter().collect::<Vec<_>>());
    let assembled = parts[0].verdict.as_ref().unwrap();
    assert_eq!(assembled.geometry.size, [3, 4, 4]);
    assert_eq!(assembled.geometry.origin_mm, [-1.0, -2.0, 0.0]);
    assert_eq!(assembled.geometry.steps_mm, [[0.0, 0.0, 2.0], [0.0, 0.5, 0.0], [0.25, 0.0, 0.0]]);
    let slices: Vec<_> = assembled.slices.iter().map(|s| (files[s.instance].clone(), s.frame)).collect();
    let scan = load_scan(&assembled.geometry, &slices).unwrap();
    assert_eq!(scan.slice(0)[0], -10.0);
    assert_eq!(scan.slice(2)[5], 3.0 * 7.0 - 10.0);
}

#[test]
fn the_digest_follows_content_and_nothing_else() {
    let plain = of(&SliceFile::new(1));
    let folder = tempfile::tempdir().unwrap();
    let renamed = instance(&SliceFile::new(1).write(folder.path(), "other name"));
    assert_eq!(plain.digest, renamed.digest);
    let mut private = SliceFile::new(1);
    private.set((0x0009, 0x0010), b"LO", b"VENDOR".to_vec()).set((0x0009, 0x1001), b"LO", b"x".to_vec());
    assert_eq!(plain.digest, of(&private).digest);
    let mut described = SliceFile::new(1);
    described.set((0x0008, 0x103E), b"LO", b"t2".to_vec());
    assert_ne!(plain.digest, of(&described).digest);
    let mut pixels = SliceFile::new(1);
    pixels.set((0x7FE0, 0x0010), b"OW", vec![0; 32]);
    assert_ne!(plain.digest, of(&pixels).digest);
    let mut rescaled = SliceFile::new(1);
    rescaled.set((0x0028, 0x1053), b"DS", b"2".to_vec());
    assert_ne!(plain.digest, of(&rescaled).digest);
}

/// Functional groups of all frames, with a slope.
fn shared_rescale(slope: &[u8]) -> Vec<u8> {
    let item = |content: Vec<u8>| {
        [&[0xFE, 0xFF, 0x00, 0xE0][..], &(content.len() as u32).to_le_bytes(), &content].concat()
    };
    item(crate::files::element(
        (0x0028, 0x9145),
        b"SQ",
        &item(crate::files::element((0x0028, 0x1053), b"DS", slope)),
    ))
}

#[test]
fn an_empty_slope_is_noted() {
    let note = |file: &SliceFile| of(file).notes.iter().any(|note| note.starts_with("RESCALE_EMPTY"));
    let mut file = SliceFile::new(0);
    assert!(!note(&file));
    file.set((0x0028, 0x1053), b"DS", b"  ".to_vec());
    assert!(note(&file) && of(&file).refusal.is_none());
    let mut groups = SliceFile::new(0);
    groups.set((0x5200, 0x9229), b"SQ", shared_rescale(b""));
    assert!(note(&groups));
}

#[test]
fn what_cannot_be_part_of_a_volume_is_refused_by_name() {
    let refusal = |tag, vr: &[u8; 2], value: &[u8]| {
        let mut file = SliceFile::new(0);
        file.set(tag, vr, value.to_vec());
        of(&file).refusal
    };
    let class = (0x0008, 0x0016);
    let cases = [
        (refusal((0x0028, 0x0004), b"CS", b"PALETTE COLOR"), "COLOUR"),
        (refusal((0x0028, 0x0002), b"US", &[3, 0]), "COLOUR"),
        (refusal(class, b"UI", b"1.2.840.10008.5.1.4.1.1.7"), "SECONDARY_CAPTURE"),
        (refusal(class, b"UI", b"1.2.840.10008.5.1.4.1.1.1.1"), "PROJECTION"),
        (refusal((0x0008, 0x0008), b"CS", b"ORIGINAL\\PRIMARY\\LOCALIZER"), "LOCALIZER"),
        (refusal((0x0008, 0x0008), b"CS", b"ORIGINAL\\PRIMARY\\M\\MOSAIC"), "MOSAIC_NO_CSA"),
        (refusal((0x0028, 0x0100), b"US", &[12, 0]), "UNSUPPORTED_PIXEL_FORMAT"),
        (refusal((0x0028, 0x0008), b"IS", b"1A"), "UNSUPPORTED_PIXEL_FORMAT"),
        (refusal((0x0028, 0x0008), b"IS", b"2000000000"), "TRUNCATED"),
        (refusal((0x0028, 0x1053), b"DS", b"one"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1052), b"DS", b"inf"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"0"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"-0.0E3"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"1e999"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"nan"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"1e308"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"-1e34"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"DS", b"1e-300"), "BAD_RESCALE"),
        (refusal((0x0028, 0x1052), b"DS", b"1e308 "), "BAD_RESCALE"),
        (refusal((0x0028, 0x1053), b"FD", &f64::INFINITY.to_le_bytes()), "BAD_RESCALE"),
        (refusal((0x5200, 0x9229), b"SQ", &shared_rescale(b"0 ")), "BAD_RESCALE"),
        (refusal((0x5200, 0x9229), b"SQ", &shared_rescale(b"- ")), "BAD_RESCALE"),
        (refusal((0x0028, 0x0010), b"US", &[0xFF, 0xFF]), "TRUNCATED"),
        // Two frames are described, and NumberOfFrames says nothing of a second one.
        (refusal((0x5200, 0x9230), b"SQ", &[0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0].repeat(2)), "FRAME_COUNT"),
    ];
    for (found, wanted) in cases {
        assert_eq!(found.as_deref(), Some(wanted));
    }
    assert_eq!(of(&SliceFile::new(0)).refusal, None);
}

#[test]
fn a_file_cut_inside_its_pixels_makes_the_series_a_reject() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|n| SliceFile::new(n).write(folder.path(), &format!("{n}.dcm"))).collect();
    let bytes = std::fs::read(&paths[2]).unwrap();
    std::fs::write(&paths[2], &bytes[..bytes.len() - 5]).unwrap();
    let instances: Vec<_> = paths.iter().map(|path| instance(path)).collect();
    assert_eq!(instances[2].refusal.as_deref(), Some("TRUNCATED"));
    let parts = assemble(&instances.iter().collect::<Vec<_>>());
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].verdict.as_ref().unwrap_err().code, "TRUNCATED");
}

#[test]
fn files_without_an_image_are_skipped_by_name() {
    assert_eq!(skip_code(b""), "EMPTY_FILE");
    assert_eq!(skip_code(b"patient notes, not DICOM"), "NOT_DICOM");
    let magic = [vec![0; 128], b"DICM".to_vec()].concat();
    assert_eq!(skip_code(&magic), "NO_DATASET");
    let mut segmentation = SliceFile::new(0);
    segmentation.set((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.66.4".to_vec());
    assert_eq!(skip_code(&segmentation.bytes()), "NOT_AN_IMAGE");
}

#[test]
fn unknown_representation_and_missing_preamble_are_read() {
    let mut file = SliceFile::new(1);
    file.set((0x0028, 0x1053), b"UN", b"2 ".to_vec());
    file.set((0x0020, 0x0032), b"UN", b"-1\\-2\\2".to_vec());
    let instance = of(&file);
    assert_eq!(instance.frames[0].rescale[0].0, 2.0);
    assert_eq!(instance.frames[0].position_mm.unwrap()[2].0, 2.0);
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("bare.IMA");
    std::fs::write(&bare, SliceFile::new(1).dataset()).unwrap();
    assert_eq!(self::instance(&bare).digest, of(&SliceFile::new(1)).digest);
}

#[test]
fn texts_are_decoded_by_their_character_set() {
    let mut file = SliceFile::new(1);
    file.set((0x0008, 0x0005), b"CS", b"ISO_IR 100".to_vec());
    file.set((0x0008, 0x103E), b"LO", b"t\xEAte".to_vec());
    assert_eq!(of(&file).tags["SeriesDescription"], "tête");
}

#[test]
fn empty_identifiers_get_surrogates_that_hold_a_series_together() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [0, 1].map(|number| {
        let mut file = SliceFile::new(number);
        file.set((0x0020, 0x000E), b"UI", Vec::new()).set((0x0008, 0x0018), b"UI", Vec::new());
        file.write(folder.path(), &number.to_string())
    });
    let [a, b] = paths.map(|path| instance(&path));
    assert_eq!(a.series_uid, b.series_uid);
    assert_ne!(a.sop_uid, b.sop_uid);
    assert!(a.series_uid.starts_with("2.25."));
    assert!(a.notes.contains(&"EMPTY_UID".to_owned()));
}

#[test]
fn a_modality_table_takes_the_place_of_the_rescale() {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let with_table = |descriptor: &[u16], data: Vec<u8>| {
        let item = [
            crate::files::element((0x0028, 0x3002), b"US", &words(descriptor)),
            crate::files::element((0x0028, 0x3006), b"OW", &data),
        ]
        .concat();
        let head = [&[0xFE, 0xFF, 0x00, 0xE0][..], &(item.len() as u32).to_le_bytes()].concat();
        let mut file = SliceFile::new(3);
        file.set((0x0028, 0x3000), b"SQ", [head, item].concat());
        file
    };
    let folder = tempfile::tempdir().unwrap();
    // Samples are 3, 4, …, 18; the table begins at 5.
    let path = with_table(&[4, 5, 16], words(&[10, 20, 30, 65_000])).write(folder.path(), "table");
    assert_eq!(instance(&path).refusal, None);
    let geometry = tomoflow_connectors::Geometry::axis_aligned([1, 4, 4], [1.0; 3]);
    let values = |path: &Path| load_scan(&geometry, &[(path.to_owned(), 0)]).unwrap().voxels().to_vec();
    let mut flat = with_table(&[4, 5, 16], words(&[10, 20, 30, 65_000]));
    flat.set((0x0028, 0x1053), b"DS", b"0".to_vec());
    assert_eq!(instance(&flat.write(folder.path(), "flat")).refusal, None);
    assert_eq!(values(&path)[..7], [10.0, 10.0, 10.0, 20.0, 30.0, 65_000.0, 65_000.0]);
    let bytes = with_table(&[4, 5, 8], vec![1, 2, 3, 4]).write(folder.path(), "bytes");
    assert_eq!(values(&bytes)[..6], [1.0, 1.0, 1.0, 2.0, 3.0, 4.0]);
    let other = with_table(&[4, 5, 16], words(&[10, 20, 31, 65_000])).write(folder.path(), "other");
    assert_ne!(instance(&path).content, instance(&other).content);
    let short = with_table(&[400, 5, 16], words(&[10, 20])).write(folder.path(), "short");
    assert_eq!(instance(&short).refusal.as_deref(), Some("MODALITY_LUT"));
}

/// Reads a file in every way there is; it may be refused, and must not panic.
fn exercise(path: &Path) {
    let record = read_record(path).unwrap();
    // A refusal is as good as an answer here.
    drop(read_structures(path));
    if let Record::Instance(instance) = record {
        for part in assemble(&[&instance]) {
            if let Ok(assembled) = part.verdict {
                let slices: Vec<_> =
                    assembled.slices.iter().map(|slice| (path.to_owned(), slice.frame)).collect();
                drop(load_scan(&assembled.geometry, &slices));
            }
        }
    }
}

/// A few small files of different encodings; one of our own when the samples are absent.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![SliceFile::new(3).bytes()];
    let samples = std::env::var_os("TOMOFLOW_DICOM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/dicom"), PathBuf::from);
    if !samples.is_dir() {
        println!("skipped: no samples at {}; only a file of our own is damaged", samples.display());
        return seeds;
    }
    let small = ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm", "emri_small.dcm"];
    for file in walk(&samples).unwrap() {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if small.contains(&name.as_str()) || name == "rt_variants.dcm" || name == "mf.dcm" {
            seeds.push(std::fs::read(&file.path).unwrap());
        }
    }
    seeds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics(
        seed in any::<prop::sample::Index>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6),
    ) {
        static SEEDS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(seeds);
        let mut bytes = seed.get(&SEEDS[..]).clone();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (place, value, in_head) in flips {
            let reach = if in_head { bytes.len().min(2048) } else { bytes.len() };
            if reach > 0 {
                bytes[place.index(reach)] = value;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.dcm");
        std::fs::write(&path, bytes).unwrap();
        exercise(&path);
    }
}

#[test]
fn a_character_set_that_nobody_knows_is_noted_and_one_of_an_item_is_its_own() {
    let mut file = SliceFile::new(0);
    file.set((0x0008, 0x0005), b"CS", b"\\ISO 2022 IR 149".to_vec()).set(
        (0x0008, 0x103E),
        b"LO",
        b"\x1b$)C\xb3\xfa \xc1\xbe\xbe\xe7 T2".to_vec(),
    );
    assert_eq!(of(&file).tags.get("SeriesDescription").map(String::as_str), Some("뇌 종양 T2"));
    assert!(of(&file).notes.iter().all(|note| note != "UNKNOWN_CHARACTER_SET"));
    file.set((0x0008, 0x0005), b"CS", b"ISO_IR 999".to_vec());
    assert!(of(&file).notes.iter().any(|note| note == "UNKNOWN_CHARACTER_SET"));
    let item = [
        crate::files::element((0x0008, 0x0005), b"CS", b"GBK"),
        crate::files::element((0x3006, 0x0022), b"IS", b"1"),
        crate::files::element((0x3006, 0x0026), b"LO", b"\xc4\xd4"),
    ]
    .concat();
    let mut outlines = SliceFile::new(0);
    let head = [&[0xFE, 0xFF, 0x00, 0xE0][..], &(item.len() as u32).to_le_bytes()].concat();
    outlines.set((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.481.3".to_vec()).set(
        (0x3006, 0x0020),
        b"SQ",
        [head, item].concat(),
    );
    let folder = tempfile::tempdir().unwrap();
    let read = read_structures(&outlines.write(folder.path(), "rt")).unwrap();
    assert_eq!(read.structures[0].name, "脑");
}
