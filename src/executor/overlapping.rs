//! Masks whose labels may overlap: each label stands by itself, in the same artifact as others.

use std::collections::HashMap;
use std::sync::Arc;

use tomoflow_connectors::{Geometry, LabelMap, Reject, RunLength};

use super::artifact::{self, MaskArtifact, damaged};
use crate::operators::registry::MaskTransform;
use crate::operators::value::Mask;

/// The mark that stands behind the artifact of such a mask.
const MARK: &[u8] = b"overlapping";

impl MaskArtifact {
    /// Writes the mask as bytes.
    ///
    /// # Errors
    /// `NOT_ENCODED`, which would be a fault of tomoflow.
    pub fn encode(&self) -> Result<Vec<u8>, Reject> {
        let mut bytes = artifact::encode(self)?;
        if self.overlaps {
            bytes.extend(MARK);
        }
        Ok(bytes)
    }

    /// Reads a mask back.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT`
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (mask, rest): (Self, &[u8]) =
            postcard::take_from_bytes(bytes).map_err(|error| damaged("mask", &error.to_string()))?;
        Ok(Self { overlaps: rest == MARK, ..mask })
    }

    /// Labels with a bit each in a map, the first one's the lowest.
    pub fn of_bits(bits: &LabelMap, names: &[String]) -> Self {
        let labels = 1..=names.len().min(16) as u16;
        let of = |slice: &[u16], label: u16| {
            let own: Vec<u16> = slice.iter().map(|bits| bits >> (label - 1) & 1).collect();
            own.contains(&1).then(|| (label, RunLength::encode(&own, 1)))
        };
        let slice = |slice: usize| labels.clone().filter_map(|label| of(bits.slice(slice), label)).collect();
        let slices = (0..bits.size()[0]).map(slice).collect();
        Self { label_names: names.to_vec(), size: bits.size(), slices, overlaps: true }
    }

    /// Labels that may overlap, each the voxels whose value in a map its table says to be its own.
    pub fn of_regions(values: &LabelMap, labels: Vec<(String, Vec<bool>)>) -> Self {
        let of_slice = |slice: &[u16], own: &[bool]| {
            let inside = |value: &u16| u16::from(own.get(usize::from(*value)).copied().unwrap_or(false));
            let inside: Vec<u16> = slice.iter().map(inside).collect();
            inside.contains(&1).then(|| RunLength::encode(&inside, 1))
        };
        let layer = |(name, own): (String, Vec<bool>)| {
            let slices = 0..values.size()[0];
            (name, slices.map(|slice| of_slice(values.slice(slice), &own)).collect())
        };
        Self::of_layers(values.size(), labels.into_iter().map(layer).collect())
    }

    /// Puts masks of a label each, all on one grid, into one.
    fn of_layers(size: [usize; 3], layers: Vec<(String, Vec<Option<RunLength>>)>) -> Self {
        let mut slices: Vec<Vec<(u16, RunLength)>> = vec![Vec::new(); size[0]];
        let mut names = Vec::with_capacity(layers.len());
        for (label, (name, runs)) in (1..).zip(layers) {
            names.push(name);
            for (slice, runs) in slices.iter_mut().zip(runs) {
                slice.extend(runs.map(|runs| (label, runs)));
            }
        }
        Self { label_names: names, size, slices, overlaps: true }
    }

    /// Returns one label by its name, on a grid of the same size: a mask of all names with the voxels of this
    /// one alone. Returns `None` where there is no such label.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when the runs do not fit the grid.
    pub fn layer(&self, name: &str, geometry: &Geometry) -> Result<Option<Mask>, Reject> {
        let damaged = || damaged("mask", "its runs do not fit the scan's grid");
        if self.size != geometry.size || self.slices.len() != self.size[0] {
            return Err(damaged());
        }
        let Some(place) = self.label_names.iter().position(|known| known == name) else { return Ok(None) };
        let wanted = place as u16 + 1;
        let mut labels = LabelMap::zeros(geometry.clone());
        let area = self.size[1] * self.size[2];
        for (slice, runs) in labels.voxels_mut().chunks_mut(area.max(1)).zip(&self.slices) {
            for (label, run) in runs.iter().filter(|(label, _)| *label == wanted) {
                run.decode(slice, *label).ok_or_else(damaged)?;
            }
        }
        Ok(Some(Mask { labels: Arc::new(labels), label_names: self.label_names.clone().into() }))
    }

    /// Returns what an operator on masks leaves of each label, the others being away meanwhile. Parts that it
    /// gives names of their own are labels of their own.
    ///
    /// # Errors
    /// As the operator, and as [`layer`](Self::layer).
    pub fn mended(&self, operator: &dyn MaskTransform, geometry: &Geometry) -> Result<Self, Reject> {
        let mut layers = Vec::new();
        for (label, name) in (1..).zip(&self.label_names) {
            let Some(layer) = self.layer(name, geometry)? else { continue };
            let mended = operator.apply(&layer)?;
            let own = |label: u16| {
                let slices = 0..self.size[0];
                let runs = slices
                    .map(|slice| mended.labels.slice(slice))
                    .map(|slice| slice.contains(&label).then(|| RunLength::encode(slice, label)));
                runs.collect::<Vec<_>>()
            };
            match mended.label_names == layer.label_names {
                true => layers.push((name.clone(), own(label))),
                false => {
                    let parts = (1..).zip(mended.label_names.iter());
                    layers.extend(parts.map(|(label, name)| (name.clone(), own(label))));
                }
            }
        }
        Ok(Self::of_layers(self.size, layers))
    }

    /// Returns all labels at once, on a grid of the same size: a map of values, and for each from 1 on the
    /// labels that such a voxel has.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when the runs do not fit the grid, `TOO_MANY` for more sets than a map has values.
    pub fn sets(&self, geometry: &Geometry) -> Result<(LabelMap, Vec<Vec<u16>>), Reject> {
        let damaged = || damaged("mask", "its runs do not fit the scan's grid");
        if self.size != geometry.size || self.slices.len() != self.size[0] {
            return Err(damaged());
        }
        let (mut values, area) = (LabelMap::zeros(geometry.clone()), self.size[1] * self.size[2]);
        let mut sets: Vec<Vec<u16>> = Vec::new();
        let mut known: HashMap<(u16, u16), u16> = HashMap::new();
        let mut scratch = vec![0u16; area];
        for (slice, runs) in values.voxels_mut().chunks_mut(area.max(1)).zip(&self.slices) {
            for (label, run) in runs {
                scratch.fill(0);
                run.decode(&mut scratch, 1).ok_or_else(damaged)?;
                for (value, _) in slice.iter_mut().zip(&scratch).filter(|(_, inside)| **inside == 1) {
                    *value = match known.get(&(*value, *label)) {
                        Some(next) => *next,
                        None => {
                            let mut set = match value.checked_sub(1) {
                                Some(place) => sets.get(usize::from(place)).cloned().unwrap_or_default(),
                                None => Vec::new(),
                            };
                            set.push(*label);
                            let there = sets.iter().position(|known| *known == set);
                            let next = there.map_or(sets.len() + 1, |place| place + 1);
                            let next = u16::try_from(next).map_err(|_| {
                                let message =
                                    "at most 65535 sets of labels that share voxels expected, more found";
                                Reject::new("TOO_MANY", message, "write each label by itself")
                            })?;
                            if there.is_none() {
                                sets.push(set);
                            }
                            known.insert((*value, *label), next);
                            next
                        }
                    };
                }
            }
        }
        Ok((values, sets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::registry::Stage;

    fn grid() -> Geometry {
        Geometry::axis_aligned([2, 1, 4], [1.0; 3])
    }

    /// A mask whose label 1 has voxels 0, 1, 2 and 6, and whose label 2 has voxels 2, 3, 4 and 6.
    fn overlapping() -> MaskArtifact {
        let bits = LabelMap::new(grid(), vec![1, 1, 3, 2, 2, 0, 3, 0]).unwrap();
        MaskArtifact::of_bits(&bits, &["a".to_owned(), "b".to_owned()])
    }

    fn voxels(mask: &MaskArtifact, name: &str) -> Vec<u16> {
        mask.layer(name, &grid()).unwrap().unwrap().labels.voxels().to_vec()
    }

    #[test]
    fn labels_that_overlap_come_back_as_they_were() {
        let mask = overlapping();
        let back = MaskArtifact::decode(&mask.encode().unwrap()).unwrap();
        assert_eq!(back, mask);
        assert_eq!(voxels(&back, "a"), [1, 1, 1, 0, 0, 0, 1, 0]);
        assert_eq!(voxels(&back, "b"), [0, 0, 2, 2, 2, 0, 2, 0]);
        assert!(back.layer("c", &grid()).unwrap().is_none());
        assert_eq!(back.on(&grid()).unwrap_err().code, "OVERLAPPING_MASKS");
        let (values, sets) = back.sets(&grid()).unwrap();
        let labels: Vec<&[u16]> = values
            .voxels()
            .iter()
            .map(|value| value.checked_sub(1).map_or(&[][..], |place| &sets[usize::from(place)]))
            .collect();
        assert_eq!(labels, [&[1][..], &[1], &[1, 2], &[2], &[2], &[], &[1, 2], &[]]);
        // Another grid is named, and a mask of one label a voxel stays one, to the byte.
        let other = Geometry::axis_aligned([1, 2, 4], [1.0; 3]);
        assert!(back.layer("a", &other).is_err() && back.sets(&other).is_err());
        let plain = MaskArtifact { overlaps: false, ..mask };
        assert_eq!(plain.encode().unwrap(), artifact::encode(&plain).unwrap());
        assert!(!MaskArtifact::decode(&plain.encode().unwrap()).unwrap().overlaps);
    }

    #[test]
    fn operators_see_a_label_at_a_time() {
        let config = serde_json::json!({ "connectivity": 6 });
        let entry = crate::operators::masks::largest_component::ENTRY;
        let Ok(Stage::Mask(operator)) = (entry.build)(config.as_object().unwrap()) else {
            panic!("an operator")
        };
        let mended = overlapping().mended(&*operator, &grid()).unwrap();
        assert_eq!(mended.label_names, ["a", "b"]);
        // Voxels 2 and 6 lie above each other.
        assert_eq!(voxels(&mended, "a"), [1, 1, 1, 0, 0, 0, 1, 0]);
        assert_eq!(voxels(&mended, "b"), [0, 0, 2, 2, 0, 0, 2, 0]);
    }
}
