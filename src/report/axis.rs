//! The axis of a plot.

/// An axis from a round number below the figures to one above, and its ticks.
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
}

impl Axis {
    /// Makes an axis with about `count` ticks.
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

    /// Returns where a figure lies between `start` and `end`.
    pub(super) fn place(&self, figure: f64, start: f64, end: f64) -> f64 {
        start + (figure - self.low) / (self.high - self.low) * (end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
