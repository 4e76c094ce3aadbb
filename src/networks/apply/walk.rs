//! Windows cut from a volume, slab by slab along D.

use rayon::prelude::*;
use tomoflow_connectors::pages;

use super::window::Convention;

/// Rows that are worth a thread of their own.
pub(in crate::networks) const ROWS: usize = 64;
/// Rows that are asked for before their turn: each is a piece of its own.
pub(in crate::networks) const AHEAD: usize = 4;

/// The places of windows in a volume, in the order in which they are taken: slab by slab along D.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The volume `[D, H, W]`.
    size: [usize; 3],
    /// The window `[D, H, W]`.
    window: [usize; 3],
    /// Voxels of padding before the volume along each axis where it is smaller than a window: half of what is
    /// missing, rounded down, as both conventions have it.
    before: [usize; 3],
    /// The intensity of padding, for each channel; 0 for those that have none.
    outside: Vec<f32>,
    slabs: Vec<usize>,
    places: Vec<[usize; 2]>,
}

impl Walk {
    /// The walk of windows of `window` voxels through a volume of `size` voxels.
    pub fn new(convention: Convention, size: [usize; 3], window: [usize; 3], overlap: f64) -> Self {
        let starts = |axis: usize| convention.starts(size[axis], window[axis], overlap);
        let columns = starts(2);
        let places = starts(1).into_iter().flat_map(|h| columns.iter().map(move |&w| [h, w])).collect();
        let before = std::array::from_fn(|i| window[i].saturating_sub(size[i]) / 2);
        Self { size, window, before, outside: Vec::new(), slabs: starts(0), places }
    }

    /// Returns the same walk with another intensity than 0 beyond the volume, for each of its channels.
    #[must_use]
    pub fn padded_with(self, outside: Vec<f32>) -> Self {
        Self { outside, ..self }
    }

    /// The intensity of what lies beyond a channel of the volume.
    pub fn outside(&self, channel: usize) -> f32 {
        self.outside.get(channel).copied().unwrap_or(0.0)
    }

    /// The volume `[D, H, W]`.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// The window `[D, H, W]`.
    pub fn window(&self) -> [usize; 3] {
        self.window
    }

    /// Voxels of padding before the volume along each axis.
    pub fn before(&self) -> [usize; 3] {
        self.before
    }

    /// Returns where slabs start along D, in planes of the padded volume.
    pub fn slabs(&self) -> &[usize] {
        &self.slabs
    }

    /// Returns where the windows of a slab start along `[H, W]`, in voxels of the padded volume.
    pub fn places(&self) -> &[[usize; 2]] {
        &self.places
    }

    /// The volume with its padding: at least a window.
    pub fn padded(&self) -> [usize; 3] {
        std::array::from_fn(|i| self.size[i].max(self.window[i]))
    }

    /// Planes of the padded volume that no later slab than the `index`th reaches.
    pub fn decided(&self, index: usize) -> std::ops::Range<usize> {
        let start = self.slabs.get(index).copied().unwrap_or_default();
        start..self.slabs.get(index + 1).copied().unwrap_or(start + self.window[0])
    }

    /// Copies the windows at `places` of the slab at the padded plane `d` of a volume `[C, D, H, W]` to `windows`,
    /// `[N, C, D, H, W]`. What lies beyond the volume is [`outside`](Self::outside).
    pub fn gather(&self, volume: &[f32], d: usize, places: &[[usize; 2]], windows: &mut [f32]) {
        let [deep, height, width] = self.size;
        let channels = (volume.len() / (deep * height * width).max(1)).max(1);
        let [depth, rows, columns] = self.window;
        let gather = |(index, target): (usize, &mut [f32])| {
            let place = places.get(index / (rows * depth * channels)).copied().unwrap_or_default();
            let channel = index / (rows * depth) % channels;
            let outside = self.outside(channel);
            let from = [d + index / rows % depth, place[0] + index % rows];
            let inside = |i: usize| from[i].checked_sub(self.before[i]).filter(|&n| n < self.size[i]);
            let (Some(plane), Some(row)) = (inside(0), inside(1)) else { return target.fill(outside) };
            let start = ((channel * deep + plane) * height + row) * width;
            let Some(source) = volume.get(start..start + width) else { return };
            let (left, rest) = target.split_at_mut(self.before[2]);
            let (middle, right) = rest.split_at_mut(rest.len().min(width));
            left.fill(outside);
            right.fill(outside);
            if let Some(source) = source.get(place[1]..place[1] + middle.len()) {
                middle.copy_from_slice(source);
            }
            let ahead = start + AHEAD * width + place[1];
            pages::prefetch(volume.get(ahead..ahead + columns).unwrap_or_default());
        };
        let tasks = windows.par_chunks_mut((ROWS * columns).max(1)).enumerate();
        tasks.for_each(|(task, rows)| {
            let rows = rows.chunks_exact_mut(columns.max(1)).enumerate();
            rows.for_each(|(row, target)| gather((task * ROWS + row, target)));
        });
    }
}
