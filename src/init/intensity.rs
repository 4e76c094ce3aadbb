//! What intensities mean, and how they are brought to one scale.

use std::path::Path;

use tomoflow_connectors::imagefile::{read_image_head, read_scans};

use super::archive::{Archive, Block};
use super::toml;

/// Scans that are read to learn what their intensities are.
const READ: usize = 4;
/// The value in HU below which something is air in a CT.
const AIR_HU: f64 = -500.0;
/// The share of a scan that is exactly 0, from which on it counts as a border that was cut off; nnU-Net's.
const BORDER: f64 = 0.25;

/// A modality by a word, as DICOM calls it.
fn by_word(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "ct" | "cta" | "cect" => Some("CT"),
        "mr" | "mri" | "t1" | "t2" | "t1w" | "t2w" | "t1c" | "t1ce" | "t1gd" | "flair" | "adc" | "dwi"
        | "fl" => Some("MR"),
        "pet" | "pt" | "suv" => Some("PT"),
        _ => None,
    }
}

/// A modality that one of these texts names, and the text.
pub fn named<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<(&'static str, &'a str)> {
    let found = |text: &'a str| {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.find_map(by_word).map(|modality| (modality, text))
    };
    texts.into_iter().find_map(found)
}

/// Returns what some scans' intensities tell: whether they are those of a CT, and the share that is exactly
/// 0.
pub fn looked_at(files: &[&Path]) -> (bool, Option<f64>) {
    let step = files.len().div_ceil(READ).max(1);
    let (mut air, mut zeros) = (0, Vec::new());
    let some: Vec<&&Path> = files.iter().step_by(step).collect();
    for file in &some {
        let Ok(file) = std::path::absolute(file) else { continue };
        let head = read_image_head(&file, |_| true).ok().flatten().and_then(Result::ok);
        let min = head.and_then(|head| head.figures?.min);
        air += usize::from(min.is_some_and(|min| min < AIR_HU));
        if min == Some(0.0)
            && let Some(scan) = read_scans(&file).ok().and_then(|scans| scans.into_iter().next())
        {
            let zero = scan.voxels().iter().filter(|&&value| value == 0.0).count();
            zeros.push(zero as f64 / scan.voxels().len().max(1) as f64);
        } else if min.is_some() {
            zeros.push(0.0);
        }
    }
    let share = (!zeros.is_empty()).then(|| zeros.iter().sum::<f64>() / zeros.len() as f64);
    (!some.is_empty() && air == some.len(), share)
}

/// The operator that brings intensities to one scale.
pub fn operator(archive: &Archive, input: &str, border: Option<f64>) -> Block {
    let inputs = toml::list([toml::text(input)]);
    let ct = archive.modality == "CT";
    let known = if archive.modality_from.is_empty() {
        String::new()
    } else {
        format!(" ({})", archive.modality_from)
    };
    if archive.channels.len() > 1 {
        let zeros = border.is_some_and(|share| share > BORDER);
        let block = Block::new("operators.normal", "zscore")
            .why(format!(
                "Each channel of a scan is scaled by its own mean and deviation{}. A CT among them has a scale that means the \
                 same in every scan: a source for each channel, with its own stages before `type = \"channels\"`, keeps it.",
                if zeros { "; zeros, a quarter of the voxels and more, are a border that was cut off and take no part" } else { "" }
            ))
            .with("inputs", inputs);
        return if zeros { block.with("foreground", toml::text("nonzero")) } else { block };
    }
    match (ct, archive.learns()) {
        (true, true) => Block::new("operators.normal", "zscore")
            .why(format!(
                "CT{known}: a value means the same in every scan, so that all are scaled by the same numbers, which are \
                 taken once from the voxels that have a label, as nnU-Net does."
            ))
            .with("inputs", inputs)
            .with("statistics", toml::text("archive"))
            .with("foreground", toml::text("labelled"))
            .with("clip", "{ percentiles = [0.5, 99.5] }")
            .after("or a window of HU that you know: type = \"window\", low = -160, high = 240"),
        (true, false) => Block::new("operators.normal", "window")
            .why(format!("CT{known}: a window of soft tissue, in HU."))
            .with("inputs", inputs)
            .with("low", "-160")
            .with("high", "240"),
        _ => {
            let what = match archive.modality.as_str() {
                "MR" => "MR",
                "PT" => "PET",
                "" => "The modality is not known",
                other => other,
            };
            let zeros = border.is_some_and(|share| share > BORDER);
            let why = format!(
                "{what}{known}: values have no scale of their own, so that each scan is scaled by its own mean and \
                 deviation{}.",
                if zeros { "; zeros, a quarter of the voxels and more, are a border that was cut off and take no part" } else { "" }
            );
            let block = Block::new("operators.normal", "zscore").why(why).with("inputs", inputs);
            if zeros { block.with("foreground", toml::text("nonzero")) } else { block }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tomoflow_connectors::{Geometry, Scan, nifti};

    #[test]
    fn words_name_modalities() {
        assert_eq!(named(["s0001/ct.nii.gz"]), Some(("CT", "s0001/ct.nii.gz")));
        assert_eq!(named(["x", "FLAIR"]), Some(("MR", "FLAIR")));
        assert_eq!(named(["STS_002_PET_image"]).map(|found| found.0), Some("PT"));
        assert_eq!(named(["octopus", "volume-1"]), None);
    }

    #[test]
    fn intensities_tell_air_and_borders() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, values: Vec<f32>| {
            let scan = Scan::new(Geometry::axis_aligned([2, 2, 2], [1.0; 3]), values).unwrap();
            let path = folder.path().join(name);
            nifti::write_scan(&path, &scan).unwrap();
            path
        };
        let ct = write("a.nii", vec![-1000.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mr = write("b.nii", vec![0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(looked_at(&[&ct]), (true, Some(0.0)));
        assert_eq!(looked_at(&[&mr]), (false, Some(0.5)));
        assert_eq!(looked_at(&[&ct, &mr]), (false, Some(0.25)));
        assert_eq!(looked_at(&[]), (false, None));
    }
}
