//! Values and slopes between voxels, linear from eight.

/// Voxels `[D, H, W]` that are looked at between their centres.
#[derive(Clone, Copy)]
pub(super) struct Sampler<'a> {
    pub(super) voxels: &'a [f32],
    pub(super) size: [usize; 3],
}

/// The lower voxel along an axis, and how far the position lies beyond it.
#[inline(always)]
fn below(position: f64, voxels: usize) -> (usize, f32) {
    let low = (position as usize).min(voxels - 2);
    (low, (position - low as f64) as f32)
}

impl Sampler<'_> {
    /// Whether a position lies within the outermost centres.
    #[inline(always)]
    pub(super) fn holds(&self, position: [f64; 3]) -> bool {
        (0..3).all(|axis| position[axis] >= 0.0 && position[axis] <= (self.size[axis] - 1) as f64)
    }

    /// The eight voxels around a position that it holds, and how far it lies beyond the lowest.
    #[inline(always)]
    fn corners(&self, position: [f64; 3]) -> ([f32; 8], [f32; 3]) {
        let [_, height, width] = self.size;
        let (d, z) = below(position[0], self.size[0]);
        let (h, y) = below(position[1], height);
        let (w, x) = below(position[2], width);
        let start = (d * height + h) * width + w;
        let near = &self.voxels[start..];
        let plane = height * width;
        let values = [
            near[0],
            near[1],
            near[width],
            near[width + 1],
            near[plane],
            near[plane + 1],
            near[plane + width],
            near[plane + width + 1],
        ];
        (values, [z, y, x])
    }

    /// The value at a position that it holds.
    #[inline(always)]
    pub(super) fn value(&self, position: [f64; 3]) -> f32 {
        let (v, [z, y, x]) = self.corners(position);
        let along = |low: f32, high: f32, share: f32| low + (high - low) * share;
        let upper = along(along(v[0], v[1], x), along(v[2], v[3], x), y);
        let lower = along(along(v[4], v[5], x), along(v[6], v[7], x), y);
        along(upper, lower, z)
    }

    /// The value at a position, of the nearest place within where it lies outside.
    #[inline(always)]
    pub(super) fn clamped(&self, position: [f64; 3]) -> f32 {
        self.value([0, 1, 2].map(|axis| position[axis].clamp(0.0, (self.size[axis] - 1) as f64)))
    }

    /// The value at a position that it holds, and how it changes by voxel along `[D, H, W]`.
    #[inline(always)]
    pub(super) fn slope(&self, position: [f64; 3]) -> (f32, [f32; 3]) {
        let (v, [z, y, x]) = self.corners(position);
        let along = |low: f32, high: f32, share: f32| low + (high - low) * share;
        // Along W, then H, then D.
        let rows = [0, 2, 4, 6].map(|i| along(v[i], v[i + 1], x));
        let across = [0, 2, 4, 6].map(|i| v[i + 1] - v[i]);
        let planes = [along(rows[0], rows[1], y), along(rows[2], rows[3], y)];
        let value = along(planes[0], planes[1], z);
        let by_d = planes[1] - planes[0];
        let by_h = along(rows[1] - rows[0], rows[3] - rows[2], z);
        let by_w = along(along(across[0], across[1], y), along(across[2], across[3], y), z);
        (value, [by_d, by_h, by_w])
    }
}
