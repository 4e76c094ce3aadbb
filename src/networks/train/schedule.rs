//! The learning rate of each step: warm-up, then one of several ways down.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate goes on after its warm-up. With a warm-up of n steps, step s of these has the share
/// (s + 1) / n of the rate; afterwards steps count from 0 again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// The rate stays.
    Constant {
        /// The steps of the warm-up.
        warm_up: u64,
    },
    /// The rate is halved every so many steps.
    Halve {
        /// The steps of the warm-up.
        warm_up: u64,
    },
    /// The share of the rate is `(1 - t / T)^power`, nnU-Net's with a power of 0.9 and t in steps.
    Polynomial {
        /// The power, which says how fast the rate falls.
        power: f64,
        /// The steps of the warm-up.
        warm_up: u64,
    },
    /// The rate falls to a share of itself after each of `drops + 1` equal parts of all steps but the last.
    Drop {
        /// The share that is left of the rate.
        factor: f64,
        /// The number of times that it falls.
        drops: u64,
        /// The steps of the warm-up.
        warm_up: u64,
    },
    /// The share of the rate is `(1 + cos(π t / T)) / 2`, of Loshchilov and Hutter (arXiv 1608.03983) without
    /// restarts.
    Cosine {
        /// The steps of the warm-up.
        warm_up: u64,
    },
    /// The rate falls to a share of itself at some steps, as PyTorch's `MultiStepLR`. All steps count from 0, those of the
    /// warm-up too, in which the rate rises in a straight line (`LinearLR`), as that of Mask R-CNN does.
    Steps {
        /// The steps from which on it is lower; below 1 the share of all steps that is done by then.
        at: Vec<f64>,
        /// The share that is left of the rate each time.
        factor: f64,
        /// The steps of the warm-up.
        warm_up: u64,
        /// The share of the rate that the first step of the warm-up has.
        warm_up_from: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Halve { warm_up: 0 }
    }
}

impl Schedule {
    /// Whether `halve_every` has a say.
    pub fn halves(&self) -> bool {
        matches!(self, Self::Halve { .. })
    }

    /// Whether it is to fall at some steps, and names none.
    pub fn names_no_step(&self) -> bool {
        matches!(self, Self::Steps { at, .. } if at.is_empty())
    }

    fn warm_up(&self) -> u64 {
        match *self {
            Self::Constant { warm_up }
            | Self::Halve { warm_up }
            | Self::Polynomial { warm_up, .. }
            | Self::Drop { warm_up, .. }
            | Self::Cosine { warm_up }
            | Self::Steps { warm_up, .. } => warm_up,
        }
    }

    /// The share of the learning rate in step `step`, from 0, of `steps` at most; 0 from there on where the
    /// rate ends at 0. `halve_every` is 0 for never.
    pub(in crate::networks) fn share(&self, step: u64, steps: u64, halve_every: u64) -> f64 {
        let warm_up = self.warm_up();
        if let Self::Steps { at, factor, warm_up_from, .. } = self {
            let reached =
                |place: &&f64| step as f64 >= if **place < 1.0 { **place * steps as f64 } else { **place };
            let fallen = factor.powf(at.iter().filter(reached).count() as f64);
            let risen = if step < warm_up { step as f64 / warm_up as f64 } else { 1.0 };
            return (warm_up_from + (1.0 - warm_up_from) * risen) * fallen;
        }
        if step < warm_up {
            return (step + 1) as f64 / warm_up as f64;
        }
        let step = step - warm_up;
        let whole = steps.saturating_sub(warm_up).max(1) as f64;
        let done = (step as f64 / whole).min(1.0);
        match *self {
            Self::Constant { .. } | Self::Steps { .. } => 1.0,
            Self::Halve { .. } => 0.5f64.powf(step.checked_div(halve_every).unwrap_or(0) as f64),
            Self::Polynomial { power, .. } => (1.0 - done).powf(power),
            Self::Drop { factor, drops, .. } => {
                let parts = u128::from(step) * (u128::from(drops) + 1) / (whole as u128).max(1);
                factor.powf(parts.min(u128::from(drops)) as f64)
            }
            Self::Cosine { .. } => (1.0 + (PI * done).cos()) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::golden::Golden;

    #[test]
    fn by_hand() {
        let shares = |schedule: Schedule| [0, 1, 2, 3, 4, 9].map(|step| schedule.share(step, 4, 2));
        assert_eq!(shares(Schedule::Constant { warm_up: 0 }), [1.0; 6]);
        assert_eq!(shares(Schedule::Halve { warm_up: 0 }), [1.0, 1.0, 0.5, 0.5, 0.25, 0.0625]);
        assert_eq!(shares(Schedule::Halve { warm_up: 2 }), [0.5, 1.0, 1.0, 1.0, 0.5, 0.125]);
        let thirds = |step| Schedule::Drop { factor: 0.5, drops: 2, warm_up: 0 }.share(step, 6, 0);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 99].map(thirds), [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]);
        let line = Schedule::Polynomial { power: 1.0, warm_up: 0 };
        assert_eq!(shares(line), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        // A rise of two steps, then two of the four that are left to fall.
        let line = Schedule::Polynomial { power: 1.0, warm_up: 2 };
        assert_eq!(shares(line), [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]);
        let cosine = shares(Schedule::Cosine { warm_up: 0 });
        assert!(
            cosine.iter().zip([1.0, 0.853_553_39, 0.5, 0.146_446_61, 0.0]).all(|(a, b)| (a - b).abs() < 1e-8)
        );
        assert_eq!(Schedule::Halve { warm_up: 0 }.share(u64::MAX, 1, 0), 1.0);
    }

    #[test]
    fn a_warm_up_longer_than_the_training_and_a_training_of_no_step() {
        let rise = Schedule::Cosine { warm_up: 10 };
        assert_eq!(rise.share(3, 4, 0), 0.4);
        assert_eq!(rise.share(10, 4, 0), 1.0);
        assert_eq!(Schedule::Polynomial { power: 0.9, warm_up: 0 }.share(0, 0, 0), 1.0);
    }

    #[test]
    fn steps_as_torchs_by_hand() {
        // `LinearLR(rule, 1 / 3, 1.0, 4)` and `MultiStepLR(rule, [6, 8], 0.1)`, both stepped, of a rate of 1.
        let torchs = [1.0 / 3.0, 0.5, 2.0 / 3.0, 5.0 / 6.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01];
        let falls = |at: &[f64]| Schedule::Steps {
            at: at.to_vec(),
            factor: 0.1,
            warm_up: 4,
            warm_up_from: 1.0 / 3.0,
        };
        // The order has no say, and a share is one of all steps: 6 and 8 of 12.
        for at in [[6.0, 8.0], [8.0, 6.0], [0.5, 8.0], [0.5, 0.66]] {
            for (step, expected) in torchs.into_iter().enumerate() {
                let share = falls(&at).share(step as u64, 12, 0);
                assert!((share - expected).abs() < 1e-12, "{at:?}, step {step}: {share} for {expected}");
            }
        }
        // A fall within the warm-up takes its share of what has risen; one step named twice falls twice.
        assert!((falls(&[2.0]).share(3, 12, 0) - 5.0 / 60.0).abs() < 1e-12);
        assert!((falls(&[5.0, 5.0]).share(5, 12, 0) - 0.01).abs() < 1e-12);
        let at_once = Schedule::Steps { at: vec![2.0], factor: 0.5, warm_up: 0, warm_up_from: 0.2 };
        assert_eq!([0, 1, 2, 99].map(|step| at_once.share(step, 4, 0)), [1.0, 1.0, 0.5, 0.5]);
        assert!(falls(&[]).names_no_step() && !falls(&[1.0]).names_no_step());
    }

    #[test]
    fn as_torchs_schedulers() {
        let golden = Golden::read("steps.safetensors");
        let steps = golden.header["schedules"]["steps"].as_u64().unwrap();
        let halve_every = golden.header["schedules"]["halve_every"].as_u64().unwrap();
        let cases = golden.header["schedules"]["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 7);
        for case in cases {
            let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
            for (step, expected) in golden.floats(case["rates"].as_str().unwrap()).into_iter().enumerate() {
                let share = schedule.share(step as u64, steps, halve_every);
                assert!(
                    (share - expected).abs() < 1e-12,
                    "{schedule:?}, step {step}: {share} for {expected}"
                );
            }
        }
    }
}
