//! Sliding windows as MONAI places and blends them.

/// Where windows of `window` voxels start along an axis of `length` voxels.
///
/// # Examples
/// ```
/// use tomoflow::networks::window::starts;
/// assert_eq!(starts(110, 64, 0.25), [0, 46]);
/// assert_eq!(starts(110, 64, 0.5), [0, 32, 46]);
/// assert_eq!(starts(40, 64, 0.5), [0]);
/// ```
pub fn starts(length: usize, window: usize, overlap: f64) -> Vec<usize> {
    if length <= window {
        return vec![0];
    }
    let interval = ((window as f64 * (1.0 - overlap)) as usize).clamp(1, window.max(1));
    let last = length - window;
    let mut starts: Vec<usize> = (0..last).step_by(interval).collect();
    starts.push(last);
    starts
}

/// The weight of each voxel of a window: a Gaussian with σ of an eighth of each length around the middle,
/// at least 0.001.
///
/// # Examples
/// ```
/// use tomoflow::networks::window::gaussian;
/// let weights = gaussian([1, 1, 8]);
/// assert!((weights[0] - 0.002187).abs() < 1e-6 && (weights[3] - 0.882497).abs() < 1e-6);
/// ```
pub fn gaussian(window: [usize; 3]) -> Vec<f32> {
    let axis = |length: usize| -> Vec<f64> {
        let (middle, sigma) = ((length as f64 - 1.0) / 2.0, 0.125 * length as f64);
        (0..length).map(|i| (-((i as f64 - middle) / sigma).powi(2) / 2.0).exp()).collect()
    };
    let [depth, height, width] = window.map(axis);
    let mut weights = Vec::with_capacity(depth.len() * height.len() * width.len());
    for d in &depth {
        for h in &height {
            weights.extend(width.iter().map(|w| (d * h * w).max(1e-3) as f32));
        }
    }
    weights
}
