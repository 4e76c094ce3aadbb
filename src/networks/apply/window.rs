//! Sliding windows as MONAI and nnU-Net place and weigh them.

use serde::{Deserialize, Serialize};

/// The program whose placement and Gaussian windows are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// MONAI's `sliding_window_inference`: steps of equal length, the last window shifted back.
    #[default]
    Monai,
    /// nnU-Net's `compute_steps_for_sliding_window` and `compute_gaussian`: windows evenly spread.
    Nnunet,
}

/// How windows that overlap are weighed against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blend {
    /// A voxel counts the less, the farther it lies from its window's middle.
    #[default]
    Gaussian,
    /// All voxels of a window count alike.
    Constant,
}

impl Convention {
    /// Returns where windows of `window` voxels start along an axis of `length` voxels; ascending, the first
    /// at 0, the last ending with the axis. An axis shorter than a window has one, at 0.
    ///
    /// nnU-Net takes a step, which is `1 - overlap`. Steps of less than a voxel are a voxel.
    ///
    /// # Examples
    /// ```
    /// use tomoflow::networks::Convention::{Monai, Nnunet};
    /// assert_eq!(Monai.starts(110, 64, 0.25), [0, 46]);
    /// assert_eq!(Monai.starts(110, 64, 0.5), [0, 32, 46]);
    /// assert_eq!(Nnunet.starts(110, 64, 0.5), [0, 23, 46]);
    /// assert_eq!(Nnunet.starts(40, 64, 0.5), [0]);
    /// ```
    pub fn starts(self, length: usize, window: usize, overlap: f64) -> Vec<usize> {
        if length <= window {
            return vec![0];
        }
        let last = length - window;
        match self {
            Self::Monai => {
                let step = ((window as f64 * (1.0 - overlap)) as usize).clamp(1, window.max(1));
                (0..last).step_by(step).chain([last]).collect()
            }
            Self::Nnunet => {
                // An overlap of 0.9 means a step of 0.1, which 1 - 0.9 is not quite.
                let step = (((1.0 - overlap) * 1e12).round() / 1e12).min(1.0);
                let count = (last as f64 / (window as f64 * step).max(1.0)).ceil();
                let apart = last as f64 / count;
                (0..=count as usize).map(|i| (apart * i as f64).round_ties_even() as usize).collect()
            }
        }
    }

    /// Returns how much each voxel of a window `[D, H, W]` counts.
    pub fn weights(self, blend: Blend, window: [usize; 3]) -> Weights {
        let axis = |length: usize| -> Vec<f32> {
            let middle = match self {
                Self::Monai => (length as f64 - 1.0) / 2.0,
                Self::Nnunet => (length / 2) as f64,
            };
            let sigma = 0.125 * length as f64;
            (0..length).map(|i| (-((i as f64 - middle) / sigma).powi(2) / 2.0).exp() as f32).collect()
        };
        match (blend, self) {
            (Blend::Constant, _) => Weights { axes: window.map(|length| vec![1.0; length]), least: 1.0 },
            (Blend::Gaussian, Self::Monai) => Weights { axes: window.map(axis), least: 1e-3 },
            // The farthest corner is 4 σ off along each axis: exp(-24), no zero that nnU-Net would mend.
            (Blend::Gaussian, Self::Nnunet) => Weights { axes: window.map(axis), least: 0.0 },
        }
    }
}

/// The weights of a window's voxels: a product of three axes, but never below a least one.
///
/// # Examples
/// ```
/// use tomoflow::networks::{Blend, Convention};
/// let monai = Convention::Monai.weights(Blend::Gaussian, [1, 1, 8]).whole();
/// assert!((monai[0] - 0.002187).abs() < 1e-6 && (monai[3] - 0.882497).abs() < 1e-6);
/// let nnunet = Convention::Nnunet.weights(Blend::Gaussian, [1, 1, 8]).whole();
/// assert!((nnunet[0] - 0.000335).abs() < 1e-6 && nnunet[4] == 1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    axes: [Vec<f32>; 3],
    least: f32,
}

impl Weights {
    /// The window `[D, H, W]`.
    pub fn window(&self) -> [usize; 3] {
        self.axes.each_ref().map(Vec::len)
    }

    /// Writes the weights of the row `h` of the plane `d`; the row is left as it was when there is none.
    pub fn row(&self, d: usize, h: usize, row: &mut [f32]) {
        let (Some(d), Some(h)) = (self.axes[0].get(d), self.axes[1].get(h)) else { return };
        // MONAI multiplies in this order too.
        let plane = d * h;
        row.iter_mut().zip(&self.axes[2]).for_each(|(weight, w)| *weight = (plane * w).max(self.least));
    }

    /// Returns all weights, `[D, H, W]`.
    pub fn whole(&self) -> Vec<f32> {
        let [depth, height, width] = self.window();
        let mut whole = vec![0.0; depth * height * width];
        for (index, row) in whole.chunks_exact_mut(width.max(1)).enumerate() {
            self.row(index / height, index % height, row);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::Convention::{Monai, Nnunet};
    use super::*;

    #[test]
    fn one_voxel_more_than_a_window() {
        assert_eq!(Monai.starts(9, 8, 0.0), [0, 1]);
        assert_eq!(Nnunet.starts(9, 8, 0.0), [0, 1]);
        assert_eq!(Nnunet.starts(8, 8, 0.5), [0]);
        assert_eq!(Nnunet.starts(1, 1, 0.5), [0]);
    }

    #[test]
    fn a_step_of_a_tenth_is_no_hair_less() {
        // 64 / 6.4 is 10 steps; with 0.09999999999999998 there would be 11.
        assert_eq!(Nnunet.starts(128, 64, 0.9).len(), 11);
        assert_eq!(Nnunet.starts(12, 2, 0.999_999_999), (0..=10).collect::<Vec<_>>());
    }

    #[test]
    fn halves_go_to_the_even_voxel() {
        // 5 voxels in two steps: 2.5 is 2, as numpy rounds.
        assert_eq!(Nnunet.starts(13, 8, 0.5), [0, 2, 5]);
    }

    #[test]
    fn constant_weights_are_one() {
        assert_eq!(Nnunet.weights(Blend::Constant, [1, 2, 3]).whole(), [1.0; 6]);
        assert_eq!(Monai.weights(Blend::Constant, [1, 1, 1]).whole(), [1.0]);
    }

    #[test]
    fn a_window_of_one_voxel_counts_fully() {
        assert_eq!(Nnunet.weights(Blend::Gaussian, [1, 1, 1]).whole(), [1.0]);
        assert_eq!(Monai.weights(Blend::Gaussian, [1, 1, 1]).whole(), [1.0]);
    }
}
