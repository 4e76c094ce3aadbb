//! Numbers of runs and of components: of 32 bits where they suffice, since most of the time goes to memory.

/// The number of a run or of a component.
pub(super) trait Number: Copy + Default + Ord + Send + Sync {
    /// The number of a place; none is asked for that does not fit.
    fn from(place: usize) -> Self;
    /// The place.
    fn index(self) -> usize;
    /// Wraps many of them.
    fn all(numbers: Vec<Self>) -> Numbers;
}

impl Number for u32 {
    fn from(place: usize) -> Self {
        place as u32
    }

    fn index(self) -> usize {
        self as usize
    }

    fn all(numbers: Vec<Self>) -> Numbers {
        Numbers::Short(numbers)
    }
}

impl Number for usize {
    fn from(place: usize) -> Self {
        place
    }

    fn index(self) -> usize {
        self
    }

    fn all(numbers: Vec<Self>) -> Numbers {
        Numbers::Long(numbers)
    }
}

/// Numbers of either kind.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    Short(Vec<u32>),
    Long(Vec<usize>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Numbers {
    /// The number at a place, which there must be.
    pub fn get(&self, place: usize) -> usize {
        match self {
            Self::Short(numbers) => numbers[place] as usize,
            Self::Long(numbers) => numbers[place],
        }
    }
}
