//! How maps of probability, entropy and attention are written as one artifact, on the scan's original grid.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Geometry, Reject, Scan};

use super::artifact;
use super::keys;
use crate::networks::apply::maps::{MapKinds, Maps, Planes, pack, share};
use crate::operators::registry::Stage;
use crate::pipeline::Plan;
use crate::voxels::shares::Way;

/// The bytes of a header that is looked at by itself; no table of contents is as long.
const LONGEST_HEADER: u64 = 1 << 26;

/// What a map shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MapKind {
    /// The probability of this label, from 1 on.
    Probability(u16),
    /// The entropy of the probabilities of all classes, as a share of the largest there can be.
    Entropy,
    /// The network's attention.
    Attention,
}

/// What lies in an artifact: postcard, its length before it, and then the packed planes of each map.
#[derive(Serialize, Deserialize)]
struct Header {
    label_names: Vec<String>,
    size: [usize; 3],
    /// The maps, each with the bytes that its planes take.
    maps: Vec<(MapKind, Vec<u32>)>,
}

/// The maps of one case on its scan's original grid, a byte a voxel: shares from 0 to 1 in steps of 1/254, so that a
/// value is right to 1/254 (the network's grid rounds it, and the way to another grid again); 255 where nothing is
/// known. Planes are packed one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct MapsArtifact {
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// The maps, each `[D, H, W]`.
    pub maps: Vec<(MapKind, Planes)>,
}

impl MapsArtifact {
    /// The maps of a network, brought from its grid to the scan's own: linear, and 0 outside of what the network saw.
    /// One map of a byte a voxel is held at a time.
    ///
    /// # Errors
    /// `BAD_GRID` as for masks, `DAMAGED_MAP` for maps that do not fill their grid.
    pub fn new(
        maps: Maps,
        label_names: &[String],
        source: &Geometry,
        original: &Geometry,
    ) -> Result<Self, Reject> {
        let labels = (1..).map(MapKind::Probability).zip(maps.probabilities);
        let entropy = maps.entropy.map(|planes| (MapKind::Entropy, planes));
        let attention = maps.attention.map(|planes| (MapKind::Attention, planes));
        let back = |(kind, planes): (MapKind, Planes)| {
            let planes = if source == original { planes } else { returned(&planes, source, original)? };
            Ok((kind, planes))
        };
        let maps: Result<_, Reject> = labels.chain(entropy).chain(attention).map(back).collect();
        Ok(Self { label_names: label_names.to_vec(), maps: maps? })
    }

    /// Writes the maps as bytes.
    ///
    /// # Errors
    /// `NOT_ENCODED`, which would be a fault of tomoflow.
    pub fn encode(&self) -> Result<Vec<u8>, Reject> {
        let lengths = |planes: &Planes| -> Result<Vec<u32>, Reject> {
            let length = |plane: &Vec<u8>| {
                u32::try_from(plane.len()).map_err(|error| Reject::new("NOT_ENCODED", error.to_string(), ""))
            };
            planes.packed().iter().map(length).collect()
        };
        let size = self.maps.first().map_or([0; 3], |(_, planes)| planes.size());
        let maps: Result<_, Reject> =
            self.maps.iter().map(|(kind, planes)| Ok((*kind, lengths(planes)?))).collect();
        let header = Header { label_names: self.label_names.clone(), size, maps: maps? };
        let header = artifact::encode(&header)?;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        for plane in self.maps.iter().flat_map(|(_, planes)| planes.packed()) {
            bytes.extend(plane);
        }
        Ok(bytes)
    }

    /// Reads maps back.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when it is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (header, mut rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let header: Header = artifact::decode("map", header)?;
        let [depth, height, width] = header.size;
        let mut maps = Vec::new();
        for (kind, lengths) in header.maps {
            if lengths.len() != depth {
                return Err(damaged());
            }
            let mut packed = Vec::with_capacity(lengths.len());
            for length in lengths {
                let (plane, after) = rest.split_at_checked(length as usize).ok_or_else(damaged)?;
                packed.push(plane.to_vec());
                rest = after;
            }
            maps.push((kind, Planes::from_packed([height, width], packed)));
        }
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self { label_names: header.label_names, maps })
    }

    /// Returns what a map is called in a file's name and on a page: `probability.tumour`, `entropy`,
    /// `attention`.
    pub fn name(&self, kind: MapKind) -> String {
        match kind {
            MapKind::Probability(label) => {
                let name = usize::from(label).checked_sub(1).and_then(|index| self.label_names.get(index));
                format!("probability.{}", name.map_or_else(|| label.to_string(), Clone::clone))
            }
            MapKind::Entropy => "entropy".to_owned(),
            MapKind::Attention => "attention".to_owned(),
        }
    }

    /// A map as a volume of shares on the grid of its scan; NaN where nothing is known.
    ///
    /// # Errors
    /// `DAMAGED_ARTIFACT` when its planes do not fit the grid.
    pub fn volume(planes: &Planes, geometry: &Geometry) -> Result<Scan, Reject> {
        if planes.size() != geometry.size {
            return Err(damaged());
        }
        let mut voxels = Vec::with_capacity(geometry.voxels());
        for index in 0..geometry.size[0] {
            voxels.extend(planes.plane(index).ok_or_else(damaged)?.into_iter().map(share));
        }
        Scan::new(geometry.clone(), voxels).map_err(|_| damaged())
    }
}

/// A map on another grid.
fn returned(planes: &Planes, source: &Geometry, original: &Geometry) -> Result<Planes, Reject> {
    let unfit = || Reject::new("DAMAGED_MAP", "a map that fills its grid expected", "please report this");
    let way = Way::new(source, original)?;
    let whole: Option<Vec<Vec<u8>>> =
        (0..source.size[0]).into_par_iter().map(|index| planes.plane(index)).collect();
    let whole = whole.ok_or_else(unfit)?.concat();
    let [depth, height, width] = original.size;
    let plane = |d: usize| {
        let plane = way.plane(&whole, d).ok_or_else(unfit)?;
        let refused = |error: std::io::Error| Reject::new("OUT_OF_MEMORY", error.to_string(), "");
        pack(plane, width).map_err(refused)
    };
    let packed: Result<Vec<Vec<u8>>, Reject> = (0..depth).into_par_iter().map(plane).collect();
    Ok(Planes::from_packed([height, width], packed?))
}

/// The header of an artifact's file.
fn header_in(path: &Path) -> Option<Header> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    let mut bytes = Vec::new();
    file.take(length.min(LONGEST_HEADER)).read_to_end(&mut bytes).ok()?;
    artifact::decode("map", &bytes).ok()
}

/// Counts the maps in an artifact, by its header alone; none in a file that is no such artifact, or not
/// there.
pub fn count_in(path: &Path) -> usize {
    header_in(path).map_or(0, |header| header.maps.len())
}

/// Returns which maps lie in an artifact, by its header alone; none of a file that is no such artifact, or
/// not there.
pub fn kinds_in(path: &Path) -> MapKinds {
    let has = |wanted: fn(&MapKind) -> bool, maps: &[(MapKind, Vec<u32>)]| {
        maps.iter().any(|(kind, _)| wanted(kind))
    };
    header_in(path).map_or_else(MapKinds::default, |Header { maps, .. }| MapKinds {
        probabilities: has(|kind| matches!(kind, MapKind::Probability(_)), &maps),
        entropy: has(|kind| *kind == MapKind::Entropy, &maps),
        attention: has(|kind| *kind == MapKind::Attention, &maps),
    })
}

/// The maps that work of a stage makes: those that it keeps, and those of any other stage whose work is the same,
/// since such work is done once for all.
pub fn wanted(plan: &Plan, stage: usize) -> MapKinds {
    let kept = |index: usize| match &plan.stages[index].stage {
        Stage::Infer(infer) => Some(infer.options.keep),
        _ => None,
    };
    let Some(own) = kept(stage) else { return MapKinds::default() };
    let others = (0..plan.stages.len()).filter(|&other| other != stage);
    let others = others.filter_map(|other| Some((other, kept(other).filter(|kinds| kinds.any())?)));
    let same = others.filter(|(other, _)| keys::same_inference(plan, stage, *other));
    same.fold(own, |all, (_, kinds)| all.union(kinds))
}

fn damaged() -> Reject {
    artifact::damaged("map", "it is not whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(size: [usize; 3], byte: impl Fn(usize) -> u8) -> Planes {
        let [depth, height, width] = size;
        let mut planes = Planes::new([height, width]);
        for d in 0..depth {
            let start = d * height * width;
            let plane = (start..start + height * width).map(&byte).collect();
            planes.push(pack(plane, width).unwrap());
        }
        planes
    }

    fn maps(size: [usize; 3]) -> Maps {
        Maps {
            probabilities: vec![planes(size, |i| (i * 7 % 255) as u8), planes(size, |i| (i % 3) as u8)],
            entropy: Some(planes(size, |i| (i % 255) as u8)),
            attention: None,
        }
    }

    fn names() -> Vec<String> {
        ["tumour", "cochlea"].map(str::to_owned).to_vec()
    }

    #[test]
    fn maps_read_back_and_damage_is_named() {
        let grid = Geometry::axis_aligned([2, 3, 4], [1.5, 0.4, 0.4]);
        let made = MapsArtifact::new(maps(grid.size), &names(), &grid, &grid).unwrap();
        let bytes = made.encode().unwrap();
        let back = MapsArtifact::decode(&bytes).unwrap();
        assert_eq!(back, made);
        let named: Vec<String> = back.maps.iter().map(|(kind, _)| back.name(*kind)).collect();
        assert_eq!(named, ["probability.tumour", "probability.cochlea", "entropy"]);
        let entropy = MapsArtifact::volume(&back.maps[2].1, &grid).unwrap();
        assert_eq!(entropy.voxels()[20], 20.0 / 254.0);
        let other = Geometry::axis_aligned([2, 4, 3], [1.0; 3]);
        assert_eq!(MapsArtifact::volume(&back.maps[2].1, &other).unwrap_err().code, "DAMAGED_ARTIFACT");
        for end in 0..bytes.len() {
            assert_eq!(MapsArtifact::decode(&bytes[..end]).unwrap_err().code, "DAMAGED_ARTIFACT");
        }
        assert!(MapsArtifact::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn the_header_says_which_maps_there_are() {
        let grid = Geometry::axis_aligned([2, 3, 4], [1.0; 3]);
        let bytes = MapsArtifact::new(maps(grid.size), &names(), &grid, &grid).unwrap().encode().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maps");
        std::fs::write(&path, &bytes).unwrap();
        let found = kinds_in(&path);
        assert_eq!(found, MapKinds { probabilities: true, entropy: true, attention: false });
        assert!(!found.cover(MapKinds { attention: true, ..found }));
        for broken in [&bytes[..5], &bytes[..20], &[255; 30]] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(kinds_in(&path), MapKinds::default());
        }
        assert_eq!(kinds_in(&folder.path().join("none")), MapKinds::default());
    }

    #[test]
    fn a_crop_returns_to_its_place_and_outside_is_nothing() {
        let original = Geometry::axis_aligned([1, 4, 5], [1.0; 3]);
        let crop = Geometry { origin_mm: [1.0, 2.0, 0.0], ..Geometry::axis_aligned([1, 2, 3], [1.0; 3]) };
        let maps = Maps { entropy: Some(planes([1, 2, 3], |i| i as u8 + 10)), ..Maps::default() };
        let made = MapsArtifact::new(maps, &names(), &crop, &original).unwrap();
        let plane = made.maps[0].1.plane(0).unwrap();
        let (rows, _) = plane.as_chunks::<5>();
        assert_eq!(rows, [[0; 5], [0; 5], [0, 10, 11, 12, 0], [0, 13, 14, 15, 0]]);
    }
}
