//! The channels of a scan: images of one patient on one grid, each with a name.

use std::collections::BTreeSet;
use std::sync::Arc;

use tomoflow_connectors::{LabelMap, Scan};

use super::{Case, Failure};
use crate::voxels::grid::check_same_size;

/// One channel of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// The channel's intensities, on the grid of the first.
    pub scan: Arc<Scan>,
    /// The voxels that only pad the channel, as 1.
    pub padding: Option<Arc<LabelMap>>,
}

/// The channels of a scan beside the first, which is the case's `scan`.
#[derive(Clone, Debug, PartialEq)]
pub struct Channels {
    names: Arc<[String]>,
    others: Vec<Channel>,
}

impl Channels {
    /// The names of all channels, the first's before the others', and the others.
    ///
    /// # Errors
    /// `CHANNELS_DIFFER` for fewer than two channels, for another number of names, and for a name that comes twice.
    pub fn new(names: Arc<[String]>, others: Vec<Channel>) -> Result<Self, Failure> {
        let distinct: BTreeSet<&String> = names.iter().collect();
        if others.is_empty() || names.len() != others.len() + 1 || distinct.len() != names.len() {
            let message = format!(
                "a name of its own for each of {} channels expected, {} found",
                others.len() + 1,
                listed(&names)
            );
            return Err(Failure::new("CHANNELS_DIFFER", message, "the source of the channels is at fault"));
        }
        Ok(Self { names, others })
    }

    /// The names of all channels, in their order.
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// The channels after the first.
    pub fn others(&self) -> &[Channel] {
        &self.others
    }
}

impl Case {
    /// Returns the number of channels that the case's scan has, at least 1.
    pub fn channel_count(&self) -> usize {
        self.channels.as_ref().map_or(1, |channels| channels.names.len())
    }

    /// The names of its channels; none of a scan of one channel.
    pub fn channel_names(&self) -> &[String] {
        self.channels.as_ref().map_or(&[], |channels| &channels.names)
    }

    /// The intensities of each channel, in their order.
    pub fn scans(&self) -> impl Iterator<Item = &Arc<Scan>> {
        let others = self.channels.iter().flat_map(|channels| &channels.others);
        std::iter::once(&self.scan).chain(others.map(|channel| &channel.scan))
    }

    /// Each channel as a case of one, the first with the labels.
    pub fn each_channel(&self) -> impl Iterator<Item = Self> {
        let first = Self { channels: None, ..self.clone() };
        let unlabelled = Self { labels: None, ..first.clone() };
        let others: Vec<Channel> =
            self.channels.as_ref().map_or_else(Vec::new, |channels| channels.others.clone());
        let other = move |channel: Channel| Self {
            scan: channel.scan,
            padding: channel.padding,
            ..unlabelled.clone()
        };
        std::iter::once(first).chain(others.into_iter().map(other))
    }

    /// Returns what `change` makes of each channel by itself, put together again.
    ///
    /// # Errors
    /// The first refusal, with the channel's name; `GRID_MISMATCH` when channels come out on different grids.
    pub fn channel_by_channel(
        &self,
        change: impl Fn(&Self) -> Result<Self, Failure>,
    ) -> Result<Self, Failure> {
        let Some(channels) = &self.channels else { return change(self) };
        let named = |(case, name): (Self, &String)| change(&case).map_err(|failure| of(name, failure));
        let changed: Vec<Self> =
            self.each_channel().zip(channels.names.iter()).map(named).collect::<Result<_, _>>()?;
        Self::of_channels(changed, channels.names.clone())
    }

    /// A case of these channels, each a case of one, on one grid: all else is the first's.
    ///
    /// # Errors
    /// `GRID_MISMATCH` when channels lie on different grids; see [`Channels::new`].
    pub fn of_channels(cases: Vec<Self>, names: Arc<[String]>) -> Result<Self, Failure> {
        let mut cases = cases.into_iter();
        let Some(first) = cases.next() else {
            return Err(Failure::new("CHANNELS_DIFFER", "at least one channel expected, none found", ""));
        };
        let mut others = Vec::with_capacity(cases.len());
        for Self { scan, padding, .. } in cases {
            check_same_size("channels", first.scan.size(), scan.size())?;
            others.push(Channel { scan, padding });
        }
        if others.is_empty() {
            return Ok(first);
        }
        Ok(Self { channels: Some(Arc::new(Channels::new(names, others)?)), ..first })
    }
}

/// A refusal with the name of the channel that was refused.
fn of(name: &str, failure: Failure) -> Failure {
    Failure { message: format!("channel `{name}`: {}", failure.message), ..failure }
}

/// Names of channels in a message.
pub fn listed(names: &[String]) -> String {
    if names.is_empty() { "one without a name".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Geometry;

    use super::*;

    fn case(values: &[f32]) -> Case {
        let geometry = Geometry::axis_aligned([1, 1, values.len()], [1.0; 3]);
        let labels = LabelMap::new(geometry.clone(), vec![1; values.len()]).unwrap();
        Case {
            channels: None,
            scan: Arc::new(Scan::new(geometry.clone(), values.to_vec()).unwrap()),
            labels: Some(Arc::new(labels)),
            original: Arc::new(geometry),
            label_names: ["tumour".to_owned()].into(),
            padding: None,
        }
    }

    fn names(names: &[&str]) -> Arc<[String]> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn channels_are_changed_one_by_one_and_the_first_alone_has_labels() {
        let cases = vec![case(&[1.0, 2.0]), case(&[5.0, 7.0])];
        let both = Case::of_channels(cases, names(&["a", "b"])).unwrap();
        assert_eq!((both.channel_count(), both.channel_names()), (2, &*names(&["a", "b"])));
        let doubled = both
            .channel_by_channel(|one| {
                assert_eq!((one.channel_count(), one.labels.is_some()), (1, one.scan.voxels()[0] < 3.0));
                let voxels = one.scan.voxels().iter().map(|value| value * 2.0).collect();
                let scan = Scan::new(one.scan.geometry().clone(), voxels).unwrap();
                Ok(Case { scan: Arc::new(scan), ..one.clone() })
            })
            .unwrap();
        let voxels: Vec<&[f32]> = doubled.scans().map(|scan| scan.voxels()).collect();
        assert_eq!(voxels, [&[2.0, 4.0][..], &[10.0, 14.0]]);
        assert!(doubled.labels.is_some() && doubled.channel_names() == both.channel_names());
        assert_eq!(both.bytes(), 2 * 2 * 4 + 2 * 2);
        let failed = both.channel_by_channel(|one| match one.labels {
            Some(_) => Ok(one.clone()),
            None => Err(Failure::new("NOT_FINITE", "a number expected", "")),
        });
        assert_eq!(failed.unwrap_err().message, "channel `b`: a number expected");
    }

    #[test]
    fn what_is_no_case_of_channels_is_named() {
        let of = |cases: Vec<Case>, given: &[&str]| {
            Case::of_channels(cases, names(given)).err().map(|failure| failure.code.to_string())
        };
        assert_eq!(of(vec![case(&[1.0])], &[]), None);
        assert_eq!(of(vec![], &[]).as_deref(), Some("CHANNELS_DIFFER"));
        let two = || vec![case(&[1.0]), case(&[2.0])];
        assert_eq!(of(two(), &["a"]).as_deref(), Some("CHANNELS_DIFFER"));
        assert_eq!(of(two(), &["a", "a"]).as_deref(), Some("CHANNELS_DIFFER"));
        assert_eq!(of(vec![case(&[1.0]), case(&[2.0, 3.0])], &["a", "b"]).as_deref(), Some("GRID_MISMATCH"));
    }
}
