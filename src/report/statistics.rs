//! What is said about a handful of figures.

/// Figures in order, and what sums them up.
pub(super) struct Summary {
    /// The figures, ascending; all finite, at least one.
    pub sorted: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation; of one figure there is none.
    pub sd: Option<f64>,
}

impl Summary {
    /// Of the finite figures; `None` when there are none.
    pub(super) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
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
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let place = share.clamp(0.0, 1.0) * (self.sorted.len() - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        match (self.sorted.get(low), self.sorted.get(high)) {
            (Some(low), Some(high)) => low + (high - low) * place.fract(),
            _ => self.mean,
        }
    }

    /// The smallest and the greatest.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// An axis from a round number below the figures to one above, and its ticks.
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
}

impl Axis {
    /// With about `count` ticks.
    pub(super) fn over(low: f64, high: f64, count: usize) -> Self {
        // A single figure gets room on both sides.
        let (low, high) = if high > low {
            (low, high)
        } else {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.5 };
            (low - room, low + room)
        };
        let rough = (high - low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|unit| unit * power).into_iter().find(|&step| step >= rough);
        // Subnormal or huge spans have no round step: then the ends are the ticks.
        let Some(step) = step.filter(|step| step.is_normal() && (high - low) / step < 100.0) else {
            return Self { low, high, ticks: vec![low, high] };
        };
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(last - first) as usize).map(|n| (first + n as f64) * step).collect();
        Self { low: first * step, high: last * step, ticks }
    }

    /// Where a figure lies between `start` and `end`.
    pub(super) fn place(&self, figure: f64, start: f64, end: f64) -> f64 {
        start + (figure - self.low) / (self.high - self.low) * (end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_as_numpy_gives_it() {
        let summary = Summary::of([4.0, f64::NAN, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!((summary.mean, summary.median(), summary.range()), (2.5, 2.5, (1.0, 4.0)));
        assert_eq!((summary.quantile(0.25), summary.quantile(0.75)), (1.75, 3.25));
        assert!((summary.sd.unwrap() - 1.290_994_448_7).abs() < 1e-9);
        assert!(Summary::of([f64::INFINITY].into_iter()).is_none());
        assert!(Summary::of([2.0].into_iter()).unwrap().sd.is_none());
    }

    #[test]
    fn ticks_are_round_and_cover_the_figures() {
        let axis = Axis::over(0.13, 0.94, 5);
        assert_eq!(
            axis.ticks.iter().map(|t| format!("{t:.1}")).collect::<Vec<_>>(),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        for (low, high) in [(1.0, 1.0), (0.0, 0.0), (-1e300, 1e300), (5e-324, 1e-323), (f64::MIN, f64::MAX)] {
            let axis = Axis::over(low, high, 5);
            assert!(axis.ticks.len() >= 2 && axis.ticks.len() < 20, "{low} {high}");
        }
    }
}
