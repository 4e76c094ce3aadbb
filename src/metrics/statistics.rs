//! What sums a handful of figures up.

/// Figures in order, and what sums them up: the same whatever order they came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The figures, ascending; all finite, at least one.
    pub sorted: Vec<f64>,
    /// Their mean: the sum from the smallest on, divided by their count.
    pub mean: f64,
    /// Their sample standard deviation (n − 1), from the mean; of one figure there is none.
    pub sd: Option<f64>,
}

impl Statistics {
    /// The statistics of the finite figures; `None` when there are none.
    pub fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.filter(|figure| figure.is_finite()).collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let squares: f64 = sorted.iter().map(|figure| (figure - mean).powi(2)).sum();
        let sd = (sorted.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Some(Self { sorted, mean, sd })
    }

    /// The figure below which a share of all lies, interpolated between neighbours.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share.clamp(0.0, 1.0) * (self.sorted.len() - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        match (self.sorted.get(low), self.sorted.get(high)) {
            (Some(low), Some(high)) => low + (high - low) * place.fract(),
            _ => self.mean,
        }
    }

    /// The smallest and the greatest.
    pub fn range(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    /// The middle figure, or the middle of the two.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_as_numpy_gives_them() {
        let found = Statistics::of([4.0, f64::NAN, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!((found.mean, found.median(), found.range()), (2.5, 2.5, (1.0, 4.0)));
        assert_eq!((found.quantile(0.25), found.quantile(0.75)), (1.75, 3.25));
        assert!((found.sd.unwrap() - 1.290_994_448_7).abs() < 1e-9);
        assert!(Statistics::of([f64::INFINITY].into_iter()).is_none());
        assert!(Statistics::of([2.0].into_iter()).unwrap().sd.is_none());
    }

    #[test]
    fn the_order_of_figures_takes_no_part() {
        let figures = [0.1, 1e17, -3.0, 0.7, -1e17, 0.1];
        let forth = Statistics::of(figures.into_iter()).unwrap();
        assert_eq!(Statistics::of(figures.into_iter().rev()).unwrap(), forth);
        assert_eq!(forth.sorted, [-1e17, -3.0, 0.1, 0.1, 0.7, 1e17]);
    }
}
