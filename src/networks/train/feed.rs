//! Samples to batches: several threads read ahead, the order stays.

use std::time::{Duration, Instant};

use super::super::{NetworkError, Sample, SampleSource, Target};
use super::permutation;
use crate::networks::objectives::Teaches;
use crate::voxels::ignored::IGNORED_CLASS;

/// Samples that go through the network together.
pub(super) struct Portion<'a> {
    /// The numbers of the samples in the source.
    pub indices: &'a [usize],
    /// The samples.
    pub samples: Vec<Sample>,
    /// The samples beside them that nobody has drawn.
    pub unlabelled: Vec<Sample>,
}

impl Portion<'_> {
    /// Neighbours of one shape, with their numbers.
    pub fn groups(&self) -> impl Iterator<Item = (&[usize], &[Sample])> {
        let mut first = 0;
        self.samples.chunk_by(|a, b| a.shape == b.shape).map(move |group| {
            let numbers = self.indices.get(first..first + group.len()).unwrap_or_default();
            first += group.len();
            (numbers, group)
        })
    }
}

/// What every sample of a training must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    /// The number of channels of the input.
    pub channels: usize,
    /// The greatest class.
    pub labels: usize,
    /// What the sample must teach.
    pub teaches: Teaches,
    /// Whether the sample may leave voxels and labels out.
    pub leaves_out: bool,
}

impl Fit {
    fn check(self, sample: &Sample, name: &str) -> Result<(), NetworkError> {
        let refuse = |what: &str, expected: String, found: String| {
            Err(NetworkError::Shape { what: format!("{name}, {what}"), expected, found })
        };
        let [channels, voxels @ ..] = sample.shape;
        let wanted = self.channels;
        if channels != wanted || voxels.contains(&0) {
            return refuse("shape", format!("[{wanted}, D, H, W]"), format!("{:?}", sample.shape));
        }
        let count: usize = voxels.iter().product();
        if sample.input.len() != count * channels {
            let expected = format!("{} for {:?}", count * channels, sample.shape);
            return refuse("input voxels", expected, sample.input.len().to_string());
        }
        let wanted = match (self.teaches, &sample.target) {
            (Teaches::Classes, Target::Instances(_) | Target::None) => Some("classes"),
            (Teaches::Instances, Target::Classes(_) | Target::Partly { .. } | Target::None) => {
                Some("instances")
            }
            _ => None,
        };
        if let Some(wanted) = wanted {
            return refuse("target", wanted.to_owned(), sample.target.name().to_owned());
        }
        let most = self.labels;
        match &sample.target {
            Target::Partly { .. } if !self.leaves_out => {
                refuse("labels", "all of them drawn".to_owned(), "labels that nobody looked for".to_owned())
            }
            Target::Classes(classes) | Target::Partly { classes, .. } if classes.len() != count => {
                refuse("label voxels", count.to_string(), classes.len().to_string())
            }
            Target::Classes(classes) | Target::Partly { classes, .. } => {
                let odd =
                    |label: u8| usize::from(label) > most && !(self.leaves_out && label == IGNORED_CLASS);
                match classes.iter().find(|&&label| odd(label)) {
                    Some(&IGNORED_CLASS) => refuse(
                        "labels",
                        format!("0 to {most} by this kind of training"),
                        "a voxel that nobody labelled (`ignore`)".to_owned(),
                    ),
                    Some(label) => refuse("labels", format!("0 to {most}"), label.to_string()),
                    None => Ok(()),
                }
            }
            Target::Instances(instances) => {
                match instances.iter().find(|thing| !(1..=most).contains(&usize::from(thing.class))) {
                    Some(thing) => {
                        refuse("instances", format!("classes 1 to {most}"), thing.class.to_string())
                    }
                    None => Ok(()),
                }
            }
            Target::None => Ok(()),
        }
    }
}

/// Batches of one pass over a source.
pub(super) struct Feed<'a> {
    pub source: &'a dyn SampleSource,
    pub fit: Fit,
    /// Samples in one batch, at least 1.
    pub batch: usize,
    /// Threads that read, at least 1.
    pub readers: usize,
    pub epoch: u64,
    pub seed: u64,
    /// What goes with each batch that nobody has drawn.
    pub beside: Option<Beside<'a>>,
}

/// Samples that nobody has drawn, as many for each batch as it has others. They take turns of their own: rounds over all
/// of them, each in another order, whatever the length of an epoch.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    pub source: &'a dyn SampleSource,
    pub fit: Fit,
    /// The number of the first batch, of all since the training began.
    pub first: u64,
}

/// The number that the orders of samples beside a batch are drawn by, with the seed, so that they are not
/// those of the others.
const BESIDE: u64 = 0x756e_6c61_6265_6c6c;

impl Beside<'_> {
    /// Reads what goes with a batch, by its number among those of the feed.
    fn read(
        &self,
        number: usize,
        count: usize,
        batch: usize,
        seed: u64,
    ) -> Result<Vec<Sample>, NetworkError> {
        let all = self.source.len() as u64;
        let before = self.first.saturating_add(number as u64).saturating_mul(batch as u64);
        let mut order: (Option<u64>, Vec<usize>) = (None, Vec::new());
        let mut samples = Vec::with_capacity(count);
        for turn in (before..).take(count) {
            let (Some(round), Some(place)) = (turn.checked_div(all), turn.checked_rem(all)) else { break };
            if order.0 != Some(round) {
                order = (Some(round), permutation(self.source.len(), seed ^ BESIDE, round));
            }
            let Some(&index) = order.1.get(place as usize) else { break };
            let sample = self.source.sample(index, round, seed);
            let sample = sample.map_err(|message| NetworkError::Sample { index, message })?;
            self.fit.check(&sample, &self.source.name(index))?;
            samples.push(sample);
        }
        Ok(samples)
    }
}

impl Feed<'_> {
    /// Calls `work` on batch after batch of the samples `order`, and gives the time that it took in all.
    /// Meanwhile each reader reads one batch more and holds another one ready, so that memory stays bounded;
    /// the readers take turns, so that neither their number nor their speed changes what comes.
    pub fn each(
        &self,
        order: &[usize],
        mut work: impl FnMut(Portion<'_>) -> Result<(), NetworkError>,
    ) -> Result<Duration, NetworkError> {
        let batches = order.len().div_ceil(self.batch);
        let readers = self.readers.clamp(1, batches.max(1));
        let mut busy = Duration::ZERO;
        std::thread::scope(|scope| {
            let ready: Vec<_> = (0..readers)
                .map(|reader| {
                    let (sender, receiver) = crossbeam_channel::bounded(1);
                    // The receivers are dropped when `work` fails, which ends each reader at its next batch.
                    scope.spawn(move || {
                        let batches = order.chunks(self.batch).enumerate();
                        for (number, indices) in batches.skip(reader).step_by(readers) {
                            let samples = self.read(indices).and_then(|samples| {
                                let (batch, seed) = (self.batch, self.seed);
                                let beside = self.beside.as_ref();
                                let read = |beside: &Beside| beside.read(number, samples.len(), batch, seed);
                                let unlabelled = beside.map(read).transpose()?;
                                Ok((samples, unlabelled.unwrap_or_default()))
                            });
                            let failed = samples.is_err();
                            if sender.send(samples).is_err() || failed {
                                break;
                            }
                        }
                    });
                    receiver
                })
                .collect();
            for (indices, receiver) in order.chunks(self.batch).zip(ready.iter().cycle()) {
                // A reader that panicked: the scope passes its panic on.
                let Ok(samples) = receiver.recv() else { break };
                let (samples, unlabelled) = samples?;
                let begun = Instant::now();
                work(Portion { indices, samples, unlabelled })?;
                busy += begun.elapsed();
            }
            Ok(busy)
        })
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<Sample>, NetworkError> {
        let read = |&index| {
            let sample = self.source.sample(index, self.epoch, self.seed);
            let sample = sample.map_err(|message| NetworkError::Sample { index, message })?;
            self.fit.check(&sample, &self.source.name(index))?;
            Ok(sample)
        };
        indices.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::networks::Target;

    /// Samples that know their number; those at or after `broken` cannot be read.
    struct Numbers {
        broken: usize,
        read: AtomicUsize,
    }

    impl SampleSource for Numbers {
        fn len(&self) -> usize {
            23
        }

        fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
            self.read.fetch_add(1, Ordering::Relaxed);
            if index >= self.broken {
                return Err("unreadable".to_owned());
            }
            // The samples that come first take longest.
            std::thread::sleep(Duration::from_micros(200 / (index as u64 + 1)));
            let value = index as f32 + 100.0 * epoch as f32 + 1000.0 * seed as f32;
            Ok(Sample { input: vec![value], shape: [1; 4], target: Target::Classes(vec![0]) })
        }
    }

    fn feed(source: &Numbers, batch: usize, readers: usize) -> Feed<'_> {
        Feed {
            source,
            fit: Fit { channels: 1, labels: 1, teaches: Teaches::Classes, leaves_out: false },
            batch,
            readers,
            epoch: 2,
            seed: 1,
            beside: None,
        }
    }

    fn numbers(broken: usize) -> Numbers {
        Numbers { broken, read: AtomicUsize::new(0) }
    }

    #[test]
    fn the_same_batches_whatever_the_number_of_readers() {
        let order: Vec<usize> = (0..23).rev().collect();
        for batch in [1, 4, 23, 100] {
            for readers in [0, 1, 2, 3, 7, 64] {
                let source = numbers(usize::MAX);
                let mut seen = Vec::new();
                feed(&source, batch, readers)
                    .each(&order, |batch| {
                        let values: Vec<f32> = batch.samples.iter().map(|sample| sample.input[0]).collect();
                        assert!(batch.indices.iter().zip(&values).all(|(&i, &v)| v == i as f32 + 1200.0));
                        seen.push(batch.indices.to_vec());
                        Ok(())
                    })
                    .unwrap();
                let expected: Vec<Vec<usize>> = order.chunks(batch).map(<[usize]>::to_vec).collect();
                assert_eq!(seen, expected, "{batch} in a batch, {readers} readers");
            }
        }
        let nothing = numbers(0);
        assert!(feed(&nothing, 2, 3).each(&[], |_| panic!("there is none")).is_ok());
    }

    #[test]
    fn what_goes_beside_a_batch_takes_turns_of_its_own() {
        let (source, beside) = (numbers(usize::MAX), numbers(usize::MAX));
        let fit = Fit { channels: 1, labels: 1, teaches: Teaches::Anything, leaves_out: false };
        let order: Vec<usize> = (0..23).collect();
        let seen = |first: u64, order: &[usize], readers| {
            let beside = Some(Beside { source: &beside, fit, first });
            let feed = Feed { beside, ..feed(&source, 4, readers) };
            let mut seen = Vec::new();
            feed.each(order, |portion| {
                assert_eq!(portion.unlabelled.len(), portion.samples.len());
                seen.push(portion.unlabelled.iter().map(|sample| sample.input[0]).collect::<Vec<_>>());
                Ok(())
            })
            .unwrap();
            seen
        };
        let all = seen(0, &order, 1);
        assert_eq!(all, seen(0, &order, 3));
        // From the third batch on it is the rest: what is resumed sees what it would have seen.
        assert_eq!(all[2..], seen(2, &order[8..], 2)[..]);
        // A round holds each once, with the number of the round where others have their epoch.
        let (mut first, second): (Vec<f32>, Vec<f32>) =
            [all, seen(6, &order, 1)].concat().concat().into_iter().partition(|value| *value < 1100.0);
        first.sort_by(f32::total_cmp);
        assert_eq!(first, (0..23).map(|i| i as f32 + 1000.0).collect::<Vec<_>>());
        assert!(second.len() == 23 && second.iter().all(|value| *value >= 1100.0));
    }

    #[test]
    fn what_cannot_be_read_ends_in_its_turn() {
        let order: Vec<usize> = (0..23).collect();
        for readers in [1, 2, 5] {
            let mut done = 0;
            let source = numbers(8);
            let error = feed(&source, 2, readers).each(&order, |_| {
                done += 1;
                Ok(())
            });
            let error = error.unwrap_err().to_string();
            assert_eq!((done, error.as_str()), (4, "sample 8: unreadable"));
        }
    }

    #[test]
    fn work_that_fails_ends_the_readers() {
        let order: Vec<usize> = (0..23).collect();
        let source = numbers(usize::MAX);
        let ended = feed(&source, 1, 2).each(&order, |_| Err(NetworkError::Cancelled { step: 0 }));
        assert!(matches!(ended, Err(NetworkError::Cancelled { .. })));
        // Each reader has read one batch, holds another ready, and may have begun a third.
        assert!(source.read.load(Ordering::Relaxed) <= 6);
    }

    #[test]
    fn neighbours_of_one_shape_are_a_group() {
        let sample = |width| Sample {
            input: vec![0.0; width],
            shape: [1, 1, 1, width],
            target: Target::Classes(vec![0; width]),
        };
        let samples = [2, 2, 3, 2].map(sample).to_vec();
        let batch = Portion { indices: &[7, 5, 9, 1], samples, unlabelled: Vec::new() };
        let groups: Vec<Vec<usize>> = batch.groups().map(|(numbers, _)| numbers.to_vec()).collect();
        assert_eq!(groups, [vec![7, 5], vec![9], vec![1]]);
    }
}
