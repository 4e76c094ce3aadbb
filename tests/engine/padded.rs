//! Scans with PixelPaddingValue: what only pads them enters no statistics, and nothing else changes.

use std::collections::BTreeMap;
use std::path::Path;

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};

use crate::support::dicom::copied;
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same, ran};

const PIXELS: Tag = Tag(0x7FE0, 0x0010);
const SIGNED: Tag = Tag(0x0028, 0x0103);
const PADDING: Tag = Tag(0x0028, 0x0120);
/// The value that pads: twelve bits hold it, and no voxel of the phantom has it.
const VALUE: u16 = 4_000;

/// Says what pads a slice, and pads its first and last rows with it where that is asked for; the other samples.
fn pad(file: &Path, rows: usize) -> Vec<f64> {
    let mut others = Vec::new();
    copied(file, file, |object| {
        let mut pixels = object.element(PIXELS).unwrap().to_bytes().unwrap().into_owned();
        let (width, length) = (2 * crate::support::SIZE[2], pixels.len());
        let value: Vec<u8> = VALUE.to_le_bytes().repeat(width / 2 * rows);
        pixels[..value.len()].copy_from_slice(&value);
        pixels[length - value.len()..].copy_from_slice(&value);
        let inside = pixels[value.len()..length - value.len()].chunks_exact(2);
        others = inside.map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect();
        object.put(DataElement::new(PIXELS, VR::OW, PrimitiveValue::U8(pixels.into())));
        let signed = object.element(SIGNED).unwrap().to_int::<u16>().unwrap() == 1;
        let (vr, value) = match signed {
            true => (VR::SS, PrimitiveValue::from(VALUE as i16)),
            false => (VR::US, PrimitiveValue::from(VALUE)),
        };
        object.put(DataElement::new(PADDING, vr, value));
    });
    others
}

/// How many samples lie more than half a standard deviation above the mean; a rescale changes nothing of that.
fn stand_out(samples: &[f64]) -> i64 {
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / samples.len() as f64;
    samples.iter().filter(|x| (**x - mean) / variance.sqrt() > 0.5).count() as i64
}

fn slices(place: &Workplace, series: usize) -> Vec<std::path::PathBuf> {
    let mut files = place.files_of(series);
    files.pop();
    files
}

/// Voxels of the masks of `bright`, by case.
fn areas(place: &Workplace) -> BTreeMap<String, i64> {
    let mut areas = BTreeMap::new();
    for line in &place.tables()["masks"] {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        if row["stage"] == "bright" {
            // Starts and lengths take turns.
            let lengths = row["runs"].as_array().unwrap().iter().skip(1).step_by(2);
            *areas.entry(row["case"].as_str().unwrap().to_owned()).or_default() +=
                lengths.map(|length| length.as_i64().unwrap()).sum::<i64>();
        }
    }
    areas
}

#[test]
fn padding_changes_no_statistics_of_what_it_pads() {
    let place = Workplace::new(2);
    place.run();
    let found = areas(&place);
    assert!(found.len() == 2 && found.values().all(|area| *area > 0), "{found:?}");
    // A bright frame that is said to be none: what stands out beside it does so among what is no padding.
    let others: Vec<f64> = slices(&place, 0).iter().flat_map(|file| pad(file, 3)).collect();
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), summary.rejected), (1, 0), "{summary}");
    let padded = areas(&place);
    // The frame lies above the threshold, of course.
    let frame = (2 * 3 * crate::support::SIZE[0] * crate::support::SIZE[2]) as i64;
    let changed: Vec<i64> =
        padded.iter().filter(|(case, area)| found[*case] != **area).map(|(_, area)| *area).collect();
    let wanted = frame + stand_out(&others);
    assert!(changed.len() == 1 && (changed[0] - wanted).abs() <= 4, "{changed:?} for {wanted}");
    assert_ne!(padded, found);
    let noted = place.tables()["cases"].iter().filter(|row| row.contains("PADDING")).count();
    assert_eq!(noted, 1, "{:?}", place.tables()["cases"]);
    assert_same(&place.tables(), &place.anew(), "a padded scan");
}

#[test]
fn a_value_that_is_named_redoes_what_minds_it_and_nothing_else() {
    let mut place = Workplace::new(2);
    place.run();
    slices(&place, 0).iter().for_each(|file| drop(pad(file, 0)));
    let summary = place.run();
    assert_eq!(ran(&summary, "bright"), 1, "{summary}");
    // On intensities as they are it has no say.
    place.text = place.text.rewrite("inputs = [\"normal\"]\nabove = 0.5", "inputs = [\"case\"]\nabove = 500");
    place.run();
    slices(&place, 1).iter().for_each(|file| drop(pad(file, 0)));
    let summary = place.run();
    assert_eq!(summary.actions_run, 0, "{summary}");
}

#[test]
fn a_padded_scan_that_is_kept_is_normalised_without_its_padding() {
    let mut place = Workplace::new(1);
    slices(&place, 0).iter().for_each(|file| drop(pad(file, 3)));
    place.run();
    let plain = areas(&place);
    let kept = "[operators.finer]\ntype = \"crop\"\ninputs = [\"case\"]\nsize_mm = [1000, 1000, 1000]\nkeep = true\n\n\
                [operators.normal]\ntype = \"zscore\"\ninputs = [\"finer\"]";
    place.text = place.text.rewrite("[operators.normal]\ntype = \"zscore\"\ninputs = [\"case\"]", kept);
    place.run();
    assert_eq!(areas(&place), plain);
}
