//! The levels of a network: how each axis is halved, and how wide kernels are.

use super::LEAST_EDGE;

/// Levels for a patch, and the patch that they fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// The patch, each axis a multiple of [`Topology::multiple`].
    pub patch: Vec<usize>,
    /// The numbers that the axes of a patch are multiples of.
    pub multiple: Vec<usize>,
    /// The kernel of each level.
    pub kernels: Vec<Vec<usize>>,
    /// The stride of each level from the one before; the first has ones.
    pub strides: Vec<Vec<usize>>,
}

impl Topology {
    /// The levels for a patch of so many voxels, and the next larger patch that they fit.
    pub fn of(spacing: &[f64], patch: &[f64]) -> Self {
        let axes = spacing.len();
        let (mut spacing, mut size) = (spacing.to_vec(), patch.to_vec());
        let mut strides = vec![vec![1; axes]];
        let (mut kernels, mut kernel, mut halvings) = (Vec::new(), vec![1; axes], vec![0u32; axes]);
        while let Some(halved) = halved(&spacing, &size) {
            // Kernels look along an axis once it is as fine as the others, to a factor of two.
            let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
            for (kernel, length) in kernel.iter_mut().zip(&spacing) {
                if length / finest < 2.0 {
                    *kernel = 3;
                }
            }
            let mut stride = vec![1; axes];
            for axis in halved {
                stride[axis] = 2;
                halvings[axis] += 1;
                spacing[axis] *= 2.0;
                size[axis] = (size[axis] / 2.0).ceil();
            }
            strides.push(stride);
            kernels.push(kernel.clone());
        }
        kernels.push(vec![3; axes]);
        let multiple: Vec<usize> = halvings.into_iter().map(|count| 1 << count).collect();
        let padded = |(length, multiple): (&f64, &usize)| {
            ((length / *multiple as f64).ceil() as usize).max(1) * multiple
        };
        let patch = patch.iter().zip(&multiple).map(padded).collect();
        Self { patch, multiple, kernels, strides }
    }
}

/// The axes that are halved next; `None` where no more are.
fn halved(spacing: &[f64], size: &[f64]) -> Option<Vec<usize>> {
    let long = |axis: &usize| size[*axis] >= 2.0 * LEAST_EDGE;
    let axes: Vec<usize> = (0..size.len()).filter(long).collect();
    let finest = axes.iter().map(|&axis| spacing[axis]).fold(f64::INFINITY, f64::min);
    let axes: Vec<usize> = axes.into_iter().filter(|&axis| spacing[axis] / finest < 2.0).collect();
    match axes.as_slice() {
        [] => None,
        // Alone, an axis must be worth a level.
        [axis] if size[*axis] < 3.0 * LEAST_EDGE => None,
        _ => Some(axes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_halved_until_they_are_as_coarse() {
        let found = Topology::of(&[4.0, 1.0, 1.0], &[16.0, 64.0, 64.0]);
        assert_eq!(found.strides[..4], [vec![1, 1, 1], vec![1, 2, 2], vec![1, 2, 2], vec![2, 2, 2]]);
        assert_eq!(found.kernels[..3], [vec![1, 3, 3], vec![1, 3, 3], vec![3, 3, 3]]);
        assert_eq!(found.patch, [16, 64, 64]);
    }

    #[test]
    fn a_patch_grows_to_what_its_levels_divide() {
        let found = Topology::of(&[1.0; 3], &[35.5, 50.0, 33.0]);
        assert_eq!(found.multiple, [8, 8, 8]);
        assert_eq!(found.patch, [40, 56, 40]);
        let small = Topology::of(&[1.0; 3], &[4.0, 5.0, 6.0]);
        assert_eq!((small.patch, small.kernels), (vec![4, 5, 6], vec![vec![3, 3, 3]]));
    }
}
