//! DICOM series that hold labels: known by their descriptions and by their values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tomoflow_connectors::Geometry;
use tomoflow_connectors::dicom::inspect::{FoundVolume, label_words};
use tomoflow_connectors::dicom::load_scan;

use super::archive::{Archive, Block};
use super::{Survey, Wishes, toml};
use crate::operators::sources::dicom_labels::label_at;
use crate::voxels::within::Within;

/// Series that are read for their values.
const READ: usize = 24;
/// Values of a label map; more are rather intensities.
const MOST: usize = 64;

/// Series that hold labels, all of one description's word.
pub struct LabelSeries<'s> {
    volumes: Vec<&'s FoundVolume>,
    /// The word that their descriptions have, and those of no scan.
    word: &'static str,
    /// The values in those that were read, but for 0.
    values: BTreeSet<u16>,
    read: usize,
}

/// Finds series that are called as labels are, and whose values are those of labels. What is called so and is not taken
/// for labels is told.
pub fn find<'s>(survey: &'s Survey, told: &mut Vec<String>) -> Option<LabelSeries<'s>> {
    let words = |volume: &FoundVolume| label_words(description(volume)).collect::<BTreeSet<_>>();
    let (called, others): (Vec<&FoundVolume>, Vec<&FoundVolume>) =
        survey.volumes.iter().partition(|volume| !words(volume).is_empty());
    let first = called.first()?;
    let name = format!("{} series are called as label maps are (`{}`)", called.len(), description(first));
    if !survey.outlines.is_empty() {
        told.push(format!(
            "{name}, and count as scans beside outlines or segments: leave them out by `where`, or read them with `dicom_labels`"
        ));
        return None;
    }
    if others.is_empty() {
        told.push(format!("{name}, and are all that there is: they count as scans"));
        return None;
    }
    let common = |word: &&'static str| called.iter().all(|volume| words(volume).contains(word));
    let Some(word) = words(first).into_iter().find(common) else {
        told.push(format!(
            "{name}, by no word that all of them have: they count as scans until `where` leaves them out, and `dicom_labels` \
             reads them"
        ));
        return None;
    };
    let (mut values, mut read) = (BTreeSet::new(), 0);
    for volume in called.iter().step_by(called.len().div_ceil(READ)) {
        let Some(found) = values_in(volume) else {
            told.push(format!(
                "{name}; the values of `{}` are none of labels: they count as scans until `where` leaves them out",
                description(volume)
            ));
            return None;
        };
        values.extend(found);
        read += 1;
    }
    values.remove(&0);
    if values.is_empty() {
        told.push(format!("{name}, and no voxel of theirs has a label: they count as scans"));
        return None;
    }
    Some(LabelSeries { volumes: called, word, values, read })
}

impl LabelSeries<'_> {
    /// Whether a volume is one of these.
    pub fn holds(&self, volume: &FoundVolume) -> bool {
        self.volumes.iter().any(|labels| labels.series_uid == volume.series_uid)
    }

    /// Whether one of these was drawn on a scan: it lies in its study, on its grid.
    pub fn lies_on(&self, scan: &FoundVolume) -> bool {
        let grid = geometry(scan);
        let on = |labels: &&FoundVolume| {
            labels.tags.get("StudyInstanceUID") == scan.tags.get("StudyInstanceUID")
                && Within::of(&geometry(labels), &grid).is_some()
        };
        self.volumes.iter().any(on)
    }

    /// Returns what keeps these from being scans of a modality, where one of them has it.
    pub fn apart_from(&self, modality: &str) -> Option<String> {
        let among = self.volumes.iter().any(|labels| labels.modality == modality);
        among.then(|| format!("!*{}*", self.word))
    }

    /// Returns the source that reads them; the labels are called by their values.
    pub fn block(&self, wishes: &Wishes, archive: &mut Archive) -> Block {
        let name = |value: &u16| match self.values.len() {
            1 => "structure".to_owned(),
            _ => format!("label_{value}"),
        };
        let entries: BTreeMap<u16, String> = self.values.iter().map(|value| (*value, name(value))).collect();
        archive.labels = entries.values().cloned().collect();
        let listed: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        let (count, listed) = (self.volumes.len(), listed.join(", "));
        archive.told.push(format!(
            "{count} series with `{}` in their descriptions are taken for labels, as their values are {listed} ({} read): give \
             each value its name",
            self.word, self.read
        ));
        let labels: Vec<(&str, String)> =
            entries.iter().map(|(value, name)| (name.as_str(), toml::list([value]))).collect();
        Block::new("sources.truth", "dicom_labels")
            .why(format!("The values in {} of {count} series are {listed}; give each its name.", self.read))
            .with("path", toml::path(&wishes.path))
            .with("where", toml::table([("SeriesDescription", toml::text(&format!("*{}*", self.word)))]))
            .with("labels", toml::table(labels))
    }
}

fn description(volume: &FoundVolume) -> &str {
    volume.tags.get("SeriesDescription").map_or("", String::as_str)
}

fn geometry(volume: &FoundVolume) -> Geometry {
    let column = |place: usize| [0, 1, 2].map(|row: usize| volume.affine_lps[row][place]);
    Geometry { size: volume.shape, origin_mm: column(3), steps_mm: [column(2), column(1), column(0)] }
}

/// The values of a series; `None` where they are none of labels, or cannot be read.
fn values_in(volume: &FoundVolume) -> Option<BTreeSet<u16>> {
    let files: Vec<PathBuf> = volume.files.iter().filter_map(|file| std::path::absolute(file).ok()).collect();
    let frames: Vec<(PathBuf, u32)> = match files.as_slice() {
        [only] => (0..volume.shape[0] as u32).map(|frame| (only.clone(), frame)).collect(),
        files => files.iter().map(|file| (file.clone(), 0)).collect(),
    };
    let scan = load_scan(&geometry(volume), &frames).ok()?;
    values_of(scan.voxels())
}

/// The values of voxels, if they are few whole numbers from 0 on.
fn values_of(voxels: &[f32]) -> Option<BTreeSet<u16>> {
    let (mut values, mut last) = (BTreeSet::new(), f32::NAN);
    for &voxel in voxels {
        // Voxels side by side are mostly alike.
        if voxel == last {
            continue;
        }
        last = voxel;
        if values.insert(label_at(voxel)?) && values.len() > MOST {
            return None;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_whole_numbers_are_values_of_labels() {
        assert_eq!(values_of(&[0.0, 0.0, 2.0, 1.0, 2.000_000_2]), Some([0, 1, 2].into()));
        for odd in [0.5, -1.0, f32::NAN, 70_000.0] {
            assert_eq!(values_of(&[0.0, odd]), None, "{odd}");
        }
        let many: Vec<f32> = (0..=MOST as u16).map(f32::from).collect();
        assert_eq!((values_of(&many), values_of(&many[1..]).map(|values| values.len())), (None, Some(MOST)));
    }

    #[test]
    fn a_matrix_is_the_grid_that_it_was_made_of() {
        let grid =
            Geometry { origin_mm: [1.0, -2.0, 3.0], ..Geometry::axis_aligned([3, 4, 5], [2.0, 0.5, 0.7]) };
        let volume = FoundVolume {
            series_uid: "1".into(),
            part: 0,
            files: Vec::new(),
            shape: grid.size,
            spacing_mm: grid.spacing_mm(),
            affine_lps: grid.affine_lps(),
            modality: "MR".into(),
            notes: Vec::new(),
            statistics: None,
            tags: std::sync::Arc::default(),
        };
        assert_eq!(geometry(&volume), grid);
    }
}
