//! The frames of a SEG: which slices and segments have one, and their pixels.

use crate::LabelMap;
use crate::dicom_seg::describe::{Encoding, SegmentText};

/// The content of voxels: a label each, or a set of labels each.
pub(super) struct Held<'a> {
    pub(super) labels: &'a LabelMap,
    pub(super) sets: Option<&'a [Vec<u16>]>,
}

impl Held<'_> {
    /// The labels of a value.
    pub(super) fn of<'v>(&'v self, value: &'v u16) -> &'v [u16] {
        match self.sets {
            _ if *value == 0 => &[],
            None => std::slice::from_ref(value),
            Some(sets) => sets.get(usize::from(*value) - 1).map_or(&[], Vec::as_slice),
        }
    }

    /// The labels of a slice, without background.
    fn distinct(&self, slice: usize) -> Vec<u16> {
        let values = distinct(self.labels.slice(slice));
        let mut found: Vec<u16> = values.iter().flat_map(|value| self.of(value)).copied().collect();
        if self.sets.is_some() {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

/// One frame that is to be written: a slice, and in BINARY the segment.
pub(super) struct Planned {
    pub(super) slice: usize,
    /// The slice's rank among those that have a frame, from 1.
    pub(super) rank: u32,
    /// The segment's number and label.
    pub(super) segment: Option<(u16, u16)>,
}

pub(super) fn frames(held: &Held<'_>, segments: &[SegmentText], encoding: Encoding) -> Vec<Planned> {
    let depth = held.labels.size()[0];
    let mut present: Vec<Vec<u16>> = (0..depth).map(|slice| held.distinct(slice)).collect();
    if present.iter().all(Vec::is_empty) {
        // An object must have frames.
        let first: Vec<u16> = segments.iter().take(1).map(|segment| segment.label).collect();
        present.fill(first);
    }
    let occupied: Vec<usize> = (0..depth).filter(|&slice| !present[slice].is_empty()).collect();
    let ranked = || (1..).zip(&occupied);
    match encoding {
        Encoding::LabelMap => ranked().map(|(rank, &slice)| Planned { slice, rank, segment: None }).collect(),
        Encoding::Binary => (1..)
            .zip(segments)
            .flat_map(|(number, segment)| {
                let present = &present;
                let here = ranked().filter(move |(_, slice)| present[**slice].contains(&segment.label));
                let segment = Some((number, segment.label));
                here.map(move |(rank, &slice)| Planned { slice, rank, segment })
            })
            .collect(),
    }
}

/// The labels of a slice, without background.
fn distinct(slice: &[u16]) -> Vec<u16> {
    let mut found = Vec::new();
    let mut last = 0;
    for &label in slice {
        if label != last && label != 0 && !found.contains(&label) {
            found.push(label);
        }
        last = label;
    }
    found
}

/// The pixels of all frames; bits run on from one frame to the next.
pub(super) fn pixels(held: &Held<'_>, frames: &[Planned], bits: u16) -> Vec<u8> {
    let labels = held.labels;
    let area = labels.size()[1] * labels.size()[2];
    let mut bytes = vec![0u8; (area * frames.len() * usize::from(bits)).div_ceil(8).next_multiple_of(2)];
    for (index, frame) in frames.iter().enumerate() {
        for (pixel, &label) in labels.slice(frame.slice).iter().enumerate() {
            let at = index * area + pixel;
            match frame.segment {
                Some((_, wanted)) if held.sets.is_none() && label == wanted => bytes[at / 8] |= 1 << (at % 8),
                Some((_, wanted)) if held.sets.is_some() && held.of(&label).contains(&wanted) => {
                    bytes[at / 8] |= 1 << (at % 8);
                }
                Some(_) => {}
                None if bits == 8 => bytes[at] = label as u8,
                None => bytes[2 * at..2 * at + 2].copy_from_slice(&label.to_le_bytes()),
            }
        }
    }
    bytes
}
