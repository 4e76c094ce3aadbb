//! Several tests at once.

/// Probabilities of several tests held to one error: none of them is below its own.
///
/// The smallest is multiplied by the number of tests, the next by one less, and so on; none may fall below the one
/// before it.
///
/// # Source
/// Holm, A simple sequentially rejective multiple test procedure, 1979.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut held = vec![0.0; probabilities.len()];
    let mut least = 0.0f64;
    for (place, index) in order.into_iter().enumerate() {
        let tests = (probabilities.len() - place) as f64;
        least = least.max((probabilities[index] * tests).min(1.0));
        held[index] = least;
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_by_hand() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
