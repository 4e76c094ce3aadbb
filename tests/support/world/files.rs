//! Changes to the files of an archive.

use std::fs;
use std::path::PathBuf;

use dicom_core::{DataElement, Tag, VR};
use dicom_object::open_file;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::LabelMap;
use tomoflow::phantom::vs;

use super::super::dicom::{FRAMES, SOP_UID, copied, painted, put, text};
use super::{SERIES, Slice, World, models};

impl World {
    pub(super) fn add(&mut self, base: usize) {
        for place in 0..self.written[base].slices.len() {
            self.add_slice(base, place, false);
        }
    }

    pub(super) fn add_slice(&mut self, base: usize, place: usize, split: bool) {
        let source = &self.written[base].slices[place];
        let path = self.archive().join(source.file_name().unwrap());
        fs::copy(source, &path).unwrap();
        self.touched.insert(path.clone());
        self.slices.push(Slice { base, place, split: false, path });
        let at = self.slices.len() - 1;
        if let Some(number) = self.renamed.get(&base).cloned() {
            // A scanner that was corrected sends the rest under the right number.
            self.rewrite(at, |object| {
                object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, number.as_str()));
            });
        }
        if split {
            self.assign(at, true);
        }
    }

    pub(super) fn remove_all(&mut self, base: usize) {
        let (gone, kept) = std::mem::take(&mut self.slices).into_iter().partition(|slice| slice.base == base);
        self.slices = kept;
        self.renamed.remove(&base);
        for slice in Vec::<Slice>::from_iter(gone) {
            fs::remove_file(&slice.path).unwrap();
            self.touched.insert(slice.path);
        }
        // A copy would keep its series alive.
        for path in std::mem::take(&mut self.copies) {
            fs::remove_file(&path).unwrap();
            self.touched.insert(path);
        }
    }

    pub(super) fn parts(&self, base: usize) -> [Vec<usize>; 2] {
        [false, true].map(|split| {
            let mut places: Vec<usize> = self
                .slices
                .iter()
                .filter(|slice| slice.base == base && slice.split == split)
                .map(|slice| slice.place)
                .collect();
            places.sort_unstable();
            places
        })
    }

    /// Drops a slice, but never so many that those left stand at regular distances again.
    pub(super) fn drop_slice(&mut self, base: usize, rng: &mut ChaCha8Rng) -> bool {
        let parts = self.parts(base);
        let missing = self.written[base].slices.len() - parts[0].len() - parts[1].len();
        let Some(split) = [false, true].into_iter().find(|&split| parts[usize::from(split)].len() >= 5)
        else {
            return false;
        };
        if missing >= 2 || !self.copies.is_empty() {
            return false;
        }
        let places = &parts[usize::from(split)];
        let place = places[rng.random_range(0..places.len())];
        let at = self.slices.iter().position(|slice| slice.base == base && slice.place == place).unwrap();
        let slice = self.slices.remove(at);
        fs::remove_file(&slice.path).unwrap();
        self.touched.insert(slice.path);
        true
    }

    pub(super) fn late(&mut self, base: usize) -> bool {
        let parts = self.parts(base);
        let all = self.written[base].slices.len();
        let absent = (0..all).find(|place| !parts.iter().any(|part| part.contains(place)));
        match absent {
            Some(place) if !parts[0].is_empty() || !parts[1].is_empty() => {
                let split = !parts[1].is_empty() && place >= all / 2;
                self.add_slice(base, place, split);
                true
            }
            _ => false,
        }
    }

    pub(super) fn rename(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let at = rng.random_range(0..self.slices.len());
        self.number += 1;
        let path = self.archive().join(format!("renamed-{}", self.number));
        fs::rename(&self.slices[at].path, &path).unwrap();
        self.touched.insert(std::mem::replace(&mut self.slices[at].path, path.clone()));
        self.touched.insert(path);
        true
    }

    pub(super) fn copy(&mut self, rng: &mut ChaCha8Rng) -> bool {
        self.number += 1;
        let path = self.archive().join(format!("copy-{}", self.number));
        fs::copy(&self.slices[rng.random_range(0..self.slices.len())].path, &path).unwrap();
        self.touched.insert(path.clone());
        self.copies.push(path);
        true
    }

    /// Changes an identifier, and no content: tables show it, and nothing runs.
    pub(super) fn rename_patient(&mut self, base: usize, rng: &mut ChaCha8Rng) -> bool {
        // Outlines without a series are none of another patient's scans, and neither is a second channel.
        if self.nameless.contains(&base) || self.seconds.contains_key(&base) {
            return false;
        }
        // A copy would keep the number of before: slices of two patients are no scan.
        if !self.copies.is_empty() {
            return false;
        }
        let number = format!("CORRECTED-{}", rng.random_range(0..1000));
        let of: Vec<usize> = (0..self.slices.len()).filter(|&at| self.slices[at].base == base).collect();
        for &at in &of {
            self.rewrite(at, |object| {
                object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, number.as_str()));
            });
        }
        if !of.is_empty() {
            self.renamed.insert(base, number);
        }
        !of.is_empty()
    }

    /// Makes outlines name no series any more.
    pub(super) fn forget_series(&mut self, base: usize) -> bool {
        if !self.labels.contains_key(&base) || self.renamed.contains_key(&base) || !self.nameless.insert(base)
        {
            return false;
        }
        let path = self.outlines(base);
        let new = path.with_extension("new");
        copied(&path, &new, |object| {
            object.remove_element(FRAMES);
        });
        fs::rename(new, &path).unwrap();
        self.touched.insert(path);
        true
    }

    fn outlines(&self, base: usize) -> PathBuf {
        self.archive().join(self.written[base].outlines.file_name().unwrap())
    }

    /// Writes a slice of a series again, edited.
    pub(super) fn edit(
        &mut self,
        base: usize,
        rng: &mut ChaCha8Rng,
        edit: impl Fn(&mut dicom_object::DefaultDicomObject),
    ) -> bool {
        let of: Vec<usize> = (0..self.slices.len()).filter(|&at| self.slices[at].base == base).collect();
        let Some(&at) = of.get(rng.random_range(0..of.len().max(1))) else { return false };
        self.rewrite(at, edit);
        true
    }

    pub(super) fn rewrite(&mut self, at: usize, edit: impl Fn(&mut dicom_object::DefaultDicomObject)) {
        let path = self.slices[at].path.clone();
        let mut object = open_file(&path).unwrap();
        edit(&mut object);
        let new = path.with_extension("new");
        object.write_to_file(&new).unwrap();
        fs::rename(new, &path).unwrap();
        self.touched.insert(path);
    }

    /// Moves the upper half of a series to one of its own, or back.
    pub(super) fn split(&mut self, base: usize) -> bool {
        let half = self.written[base].slices.len() / 2;
        let [whole, split] = self.parts(base);
        // A copy would stay where it was, and outlines follow no split.
        if !self.copies.is_empty() || (split.is_empty() && (whole.len() < 2 * half || half < 3)) {
            return false;
        }
        let to = split.is_empty();
        for at in 0..self.slices.len() {
            if self.slices[at].base == base && self.slices[at].place >= half {
                self.assign(at, to);
            }
        }
        true
    }

    pub(super) fn assign(&mut self, at: usize, split: bool) {
        let uid = self.uid(self.slices[at].base, split);
        self.rewrite(at, |object| {
            object.put(DataElement::new(Tag(0x0020, 0x000E), VR::UI, uid.as_str()));
        });
        self.slices[at].split = split;
    }

    pub(super) fn uid(&self, base: usize, split: bool) -> String {
        let uid = &self.written[base].series_uid;
        if split { format!("{uid}.9") } else { uid.clone() }
    }

    /// Draws the truth of `of` on the series `base`, moved.
    pub(super) fn label(&mut self, base: usize, of: usize, moved: usize) {
        let (_, truth) = vs::case(&self.phantom, of);
        let [_, _, width] = truth.size();
        let voxels = truth.voxels().chunks(width).flat_map(|row| {
            let mut row = row.to_vec();
            row.rotate_right(moved);
            row
        });
        let labels = LabelMap::new(truth.geometry().clone(), voxels.collect()).unwrap();
        let path =
            vs::write_rtstruct(&self.phantom, base, &labels, &vs::STRUCTURES, &self.archive()).unwrap();
        self.touched.insert(path);
        self.labels.insert(base, (of, moved));
        self.nameless.remove(&base);
    }

    pub(super) fn withdraw(&mut self, base: usize) -> bool {
        if self.labels.remove(&base).is_none() {
            return false;
        }
        self.nameless.remove(&base);
        let path = self.outlines(base);
        fs::remove_file(&path).unwrap();
        self.touched.insert(path);
        true
    }

    pub(super) fn move_label(&mut self, base: usize, rng: &mut ChaCha8Rng) -> bool {
        let to = rng.random_range(0..SERIES);
        let Some(&(of, moved)) = self.labels.get(&base).filter(|_| to != base) else { return false };
        // Outlines of another depth would refer to slices that are not there.
        if self.written[of].slices.len() != self.written[to].slices.len() {
            return false;
        }
        self.withdraw(base);
        self.label(to, of, moved);
        true
    }

    fn files_of_second(&self, base: usize) -> Vec<(PathBuf, PathBuf)> {
        let written = self.written[base].slices.iter().enumerate();
        written.map(|(at, slice)| (slice.clone(), self.archive().join(format!("pet-{base}-{at}")))).collect()
    }

    /// Writes a series of another modality in the study of `base`, whose intensities are so much higher. The
    /// series of a patient whose number was corrected would be another patient's.
    pub(super) fn second(&mut self, base: usize, added: usize) -> bool {
        if self.renamed.contains_key(&base) {
            return false;
        }
        for (from, to) in self.files_of_second(base) {
            let new = to.with_extension("new");
            copied(&from, &new, |object| {
                let sop = format!("{}.7", text(object, SOP_UID));
                put(object, SOP_UID, VR::UI, &sop);
                put(object, Tag(0x0020, 0x000E), VR::UI, &self.second_uid(base));
                put(object, Tag(0x0008, 0x0060), VR::CS, "PT");
                put(object, Tag(0x0028, 0x1052), VR::DS, &format!("{}", 40 * added));
                put(object, Tag(0x0028, 0x1053), VR::DS, "1");
            });
            fs::rename(new, &to).unwrap();
            self.touched.insert(to);
        }
        self.seconds.insert(base, added);
        true
    }

    fn second_uid(&self, base: usize) -> String {
        format!("{}.7", self.written[base].series_uid)
    }

    pub(super) fn withdraw_second(&mut self, base: usize) -> bool {
        if self.seconds.remove(&base).is_none() {
            return false;
        }
        for (_, path) in self.files_of_second(base) {
            fs::remove_file(&path).unwrap();
            self.touched.insert(path);
        }
        true
    }

    fn files_of_painted(&self, base: usize) -> Vec<(PathBuf, PathBuf)> {
        let written = self.written[base].slices.iter().enumerate();
        written
            .map(|(at, slice)| (slice.clone(), self.archive().join(format!("painted-{base}-{at}"))))
            .collect()
    }

    /// Writes the truth of `base`, moved, as a series of images in its study.
    pub(super) fn paint(&mut self, base: usize, moved: usize) {
        let (_, truth) = vs::case(&self.phantom, base);
        let [_, _, width] = truth.size();
        for (at, (from, to)) in self.files_of_painted(base).into_iter().enumerate() {
            let rows = truth.slice(at).chunks(width).flat_map(|row| {
                let mut row = row.to_vec();
                row.rotate_right(moved);
                row
            });
            let new = to.with_extension("new");
            painted(&from, &new, rows);
            fs::rename(new, &to).unwrap();
            self.touched.insert(to);
        }
        self.painted.insert(base, moved);
    }

    pub(super) fn withdraw_painted(&mut self, base: usize) -> bool {
        if self.painted.remove(&base).is_none() {
            return false;
        }
        for (_, path) in self.files_of_painted(base) {
            fs::remove_file(&path).unwrap();
            self.touched.insert(path);
        }
        true
    }

    pub(super) fn replace_model(&mut self, model: usize) {
        self.model = model;
        fs::write(self.folder.path().join("net.safetensors"), &models()[model]).unwrap();
    }
}
