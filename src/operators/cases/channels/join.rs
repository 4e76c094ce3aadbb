//! How scans of several sources become one case.

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::{Geometry, LabelMap, Scan};

use super::super::cuboid::misfit;
use crate::operators::value::{Case, Failure};
use crate::voxels::grid::Order;
use crate::voxels::onto::onto;
use crate::voxels::padding::filled;
use crate::voxels::regrid::labels_to_grid;

/// Corners of two grids that lie nearer than this are the same: nothing is interpolated.
pub const SAME_GRID_MM: f64 = 0.01;

/// What becomes of a case without one of its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissing {
    /// The case is refused.
    Reject,
    /// The channel is 0 everywhere.
    Zero,
}

/// The scans whose positions are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frames {
    /// The scans of one frame of reference.
    Same,
    /// All scans.
    Trusted,
}

/// The scans that are of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pair {
    /// The scans of one study.
    Study,
    /// The scans of one patient.
    Patient,
}

/// One number for all other inputs, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Fill {
    /// The same for all.
    One(f32),
    /// One number for each other input.
    Each(Vec<f32>),
}

impl Fill {
    /// Returns the number for the other input at this place, from 0 on.
    pub fn of(&self, place: usize) -> f32 {
        match self {
            Self::One(fill) => *fill,
            Self::Each(fills) => fills.get(place).copied().unwrap_or(0.0),
        }
    }
}

/// How scans become one case.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct JoinChannels {
    /// The names of the channels; those of the inputs when there are none.
    pub names: Option<Vec<String>>,
    /// What becomes of a case without one of its channels.
    pub on_missing: OnMissing,
    /// The scans whose positions are comparable.
    pub frames: Frames,
    /// The scans that are of one case.
    pub pair: Pair,
    /// The intensity where a scan does not reach.
    pub fill: Fill,
}

/// What another input gives to a case: its scan, or how many channels are missing.
pub enum Other {
    /// A scan, of one channel or several.
    There(Case),
    /// No scan: so many channels are 0 everywhere.
    Missing(usize),
}

impl JoinChannels {
    /// Joins the first case and the others to one, on the grid of the first.
    ///
    /// # Errors
    /// `NO_OVERLAP` for a scan that lies beside the grid, and others of [`onto`]; `CHANNELS_DIFFER` for names that are
    /// not as many as the channels.
    pub fn join(&self, first: &Case, others: Vec<Other>, names: Arc<[String]>) -> Result<Case, Failure> {
        let grid = first.scan.geometry();
        let mut channels: Vec<Case> = first.each_channel().collect();
        for (place, other) in others.into_iter().enumerate() {
            match other {
                Other::There(other) => {
                    for channel in other.each_channel() {
                        let name = names.get(channels.len()).map_or("", String::as_str);
                        let brought = brought(&channel, grid, self.fill.of(place));
                        channels.push(brought.map_err(|failure| Failure {
                            message: format!("channel `{name}`: {}", failure.message),
                            ..failure
                        })?);
                    }
                }
                Other::Missing(count) => {
                    let zeros = Arc::new(Scan::zeros(grid.clone()));
                    let missing =
                        Case { scan: zeros, labels: None, padding: None, channels: None, ..first.clone() };
                    channels.extend(std::iter::repeat_n(missing, count));
                }
            }
        }
        Case::of_channels(channels, names)
    }
}

impl JoinChannels {
    /// Joins scans as they were scanned to one case: where one does not reach lies the least of its own
    /// intensities, since `fill` is in the scale that transforms give.
    ///
    /// # Errors
    /// As for [`JoinChannels::join`].
    pub fn join_scanned(
        &self,
        first: &Case,
        others: Vec<Other>,
        names: Arc<[String]>,
    ) -> Result<Case, Failure> {
        let (mut each, mut fills) = (Vec::new(), Vec::new());
        for other in others {
            match other {
                Other::There(other) => {
                    for channel in other.each_channel() {
                        fills.push(least(&channel));
                        each.push(Other::There(channel));
                    }
                }
                Other::Missing(count) => {
                    fills.push(0.0);
                    each.push(Other::Missing(count));
                }
            }
        }
        Self { fill: Fill::Each(fills), ..self.clone() }.join(first, each, names)
    }
}

/// The least intensity of a scan of one channel, without what only pads it; 0 where there is none.
fn least(channel: &Case) -> f32 {
    let padding = channel.padding.as_ref().map(|padding| padding.voxels());
    let counts = |at: usize| padding.and_then(|padding| padding.get(at)).is_none_or(|padded| *padded == 0);
    let voxels = channel.scan.voxels().iter().enumerate();
    let least = voxels.filter(|(at, _)| counts(*at)).map(|(_, value)| *value).fold(f32::INFINITY, f32::min);
    if least.is_finite() { least } else { 0.0 }
}

/// A scan of one channel on another grid.
fn brought(channel: &Case, grid: &Geometry, fill: f32) -> Result<Case, Failure> {
    let Case { scan, padding, .. } = channel;
    if scan.geometry().same_grid(grid, SAME_GRID_MM) {
        let own = Scan::new(grid.clone(), scan.voxels().to_vec()).map_err(misfit);
        let scan = if scan.geometry() == grid { scan.clone() } else { Arc::new(own?) };
        return Ok(Case { scan, ..channel.clone() });
    }
    let Some(padding) = padding else {
        return Ok(Case { scan: Arc::new(onto(scan, grid, Order::Linear, fill)?), ..channel.clone() });
    };
    let plain = filled(scan.voxels(), padding.voxels(), scan.size());
    let plain = Scan::new(scan.geometry().clone(), plain).map_err(misfit)?;
    let made = onto(&plain, grid, Order::Linear, fill)?;
    let there = scan.voxels().iter().zip(padding.voxels()).filter(|(_, padded)| **padded != 0);
    let value = there.map(|(value, _)| *value).fold(f32::INFINITY, f32::min);
    let padding: LabelMap = labels_to_grid(padding, grid)?;
    let voxels = made.voxels().iter().zip(padding.voxels());
    let voxels = voxels.map(|(made, padded)| if *padded != 0 { value } else { *made }).collect();
    let scan = Arc::new(Scan::new(grid.clone(), voxels).map_err(misfit)?);
    let padding = padding.voxels().contains(&1).then(|| Arc::new(padding));
    Ok(Case { scan, padding, ..channel.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::build;
    use super::*;
    use crate::operators::registry::Stage;

    fn case(origin: f64, spacing: f64, values: &[f32]) -> Case {
        let mut geometry = Geometry::axis_aligned([1, 1, values.len()], [1.0, 1.0, spacing]);
        geometry.origin_mm[0] = origin;
        Case {
            channels: None,
            scan: Arc::new(Scan::new(geometry.clone(), values.to_vec()).unwrap()),
            labels: None,
            original: Arc::new(geometry),
            label_names: [].into(),
            padding: None,
        }
    }

    fn joining(config: serde_json::Value) -> JoinChannels {
        let mut all = json!({
            "names": null, "on_missing": "reject", "frames": "same", "pair": "study", "fill": 0.0,
        });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        match build(all.as_object().unwrap()) {
            Ok(Stage::Channels(join)) => join,
            _ => panic!("channels expected"),
        }
    }

    fn names(names: &[&str]) -> Arc<[String]> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn voxels(case: &Case) -> Vec<Vec<f32>> {
        case.scans().map(|scan| scan.voxels().to_vec()).collect()
    }

    #[test]
    fn others_come_onto_the_grid_of_the_first_by_their_places() {
        let first = case(0.0, 1.0, &[1.0, 2.0, 3.0, 4.0]);
        // Voxel centres at 0, 2 and 4 mm; the second input begins at 2 mm, and lies nowhere before.
        let wide = case(0.0, 2.0, &[10.0, 20.0, 30.0]);
        let late = case(2.0, 1.0, &[5.0, 6.0]);
        let join = joining(json!({ "fill": [-1.0, -9.0] }));
        let others = vec![Other::There(wide), Other::There(late), Other::Missing(1)];
        let joined = join.join(&first, others, names(&["a", "b", "c", "d"])).unwrap();
        let expected = [
            vec![1.0, 2.0, 3.0, 4.0],
            vec![10.0, 15.0, 20.0, 25.0],
            vec![-9.0, -9.0, 5.0, 6.0],
            vec![0.0; 4],
        ];
        assert_eq!(voxels(&joined), expected);
        assert_eq!(joined.channel_names(), &*names(&["a", "b", "c", "d"]));
        assert!(joined.scans().all(|scan| scan.geometry() == first.scan.geometry()));
        let beside = case(100.0, 1.0, &[1.0, 2.0]);
        let refused = join.join(&first, vec![Other::There(beside)], names(&["a", "b"])).unwrap_err();
        assert_eq!(refused.code, "NO_OVERLAP");
        assert!(refused.message.starts_with("channel `b`"), "{refused}");
    }

    #[test]
    fn scans_as_they_were_scanned_are_filled_with_their_own_least() {
        let first = case(0.0, 1.0, &[1.0, 2.0, 3.0, 4.0]);
        let mut ct = case(2.0, 1.0, &[-1000.0, 40.0, -3000.0]);
        let padding = LabelMap::new(ct.scan.geometry().clone(), vec![0, 0, 1]).unwrap();
        ct.padding = Some(Arc::new(padding));
        let (a, b) = (case(2.0, 1.0, &[5.0, 6.0]), case(2.0, 1.0, &[9.0, 7.0]));
        let two = Case::of_channels(vec![a, b], names(&["a", "b"])).unwrap();
        // The scale of `fill` is that of transforms, which scans have not gone through.
        let join = joining(json!({ "fill": [0.25, 0.5, 0.75] }));
        let others = vec![Other::There(ct), Other::Missing(1), Other::There(two)];
        let names = names(&["mr", "ct", "pet", "a", "b"]);
        let joined = voxels(&join.join_scanned(&first, others, names).unwrap());
        let outside: Vec<f32> = joined.iter().skip(1).map(|voxels| voxels[0]).collect();
        assert_eq!(outside, [-1000.0, 0.0, 5.0, 7.0]);
        assert_eq!((joined[1][2], joined[1][3], joined[3][2]), (-1000.0, 40.0, 5.0));
    }

    #[test]
    fn the_same_grid_is_taken_voxel_for_voxel() {
        let first = case(0.0, 1.0, &[1.0, 2.0]);
        let odd = case(0.004, 1.0, &[f32::NAN, 7.0]);
        let joined = joining(json!({})).join(&first, vec![Other::There(odd)], names(&["a", "b"])).unwrap();
        let found = voxels(&joined);
        assert!(found[1][0].is_nan() && found[1][1] == 7.0);
        assert!(joined.scans().all(|scan| scan.geometry() == first.scan.geometry()));
    }

    #[test]
    fn padding_of_another_channel_enters_no_voxel_and_stays_padding() {
        let first = case(0.5, 1.0, &[1.0, 2.0, 3.0]);
        let mut other = case(0.0, 1.0, &[10.0, 20.0, -2000.0, -2000.0]);
        let padding = LabelMap::new(other.scan.geometry().clone(), vec![0, 0, 1, 1]).unwrap();
        other.padding = Some(Arc::new(padding));
        let joined = joining(json!({})).join(&first, vec![Other::There(other)], names(&["a", "b"])).unwrap();
        let second = joined.each_channel().nth(1).unwrap();
        let padded = second.padding.unwrap().voxels().to_vec();
        // The middle between 10 and 20 is 15; halfway to the padding the next voxel is the nearest.
        assert_eq!(second.scan.voxels()[0], 15.0);
        assert_eq!(padded[2], 1);
        assert!(second.scan.voxels().iter().zip(&padded).all(|(value, pads)| match pads {
            1 => *value == -2000.0,
            _ => (10.0..=20.0).contains(value),
        }));
    }

    #[test]
    fn names_are_told_apart() {
        for bad in [json!(["a", "a"]), json!(["a", " "])] {
            let config = json!({
                "names": bad, "on_missing": "reject", "frames": "same", "pair": "study", "fill": 0.0,
            });
            assert_eq!(build(config.as_object().unwrap()).err().unwrap()[0].field, "names");
        }
        let fill = joining(json!({ "fill": -3 })).fill;
        assert_eq!((fill.of(0), fill.of(4)), (-3.0, -3.0));
    }
}
