//! The classes that a case holds, counted slice by slice.

/// The voxels of one class, counted.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub label: u8,
    /// Each slice that holds some, with how many there are up to and with it.
    pub slices: Vec<(usize, u64)>,
}

/// The classes that a case holds, background among them, in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Classes(pub Vec<Class>);

/// The same while slices come.
pub(super) struct Counting(Vec<Class>);

impl Counting {
    /// Begins to count, before the first slice.
    pub fn new() -> Self {
        Self((0..=u8::MAX).map(|label| Class { label, slices: Vec::new() }).collect())
    }

    /// Counts one more slice.
    pub fn add(&mut self, slice: usize, labels: &[u8]) {
        let mut counts = [0_u64; 256];
        // Label maps are long runs: a run is counted in one go.
        for run in labels.chunk_by(|a, b| a == b) {
            if let Some(count) = run.first().and_then(|label| counts.get_mut(usize::from(*label))) {
                *count += run.len() as u64;
            }
        }
        for (class, count) in self.0.iter_mut().zip(counts).filter(|(_, count)| *count > 0) {
            let before = class.slices.last().map_or(0, |(_, up_to)| *up_to);
            class.slices.push((slice, before + count));
        }
    }

    /// Returns the classes that there are.
    pub fn done(mut self) -> Classes {
        self.0.retain(|class| !class.slices.is_empty());
        self.0.iter_mut().for_each(|class| class.slices.shrink_to_fit());
        self.0.shrink_to_fit();
        Classes(self.0)
    }
}
