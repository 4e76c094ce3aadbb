//! The moment when what nobody drew begins to teach: not before a network is good enough to teach itself.

use super::Moment;
use super::strategy::{AdversarialSettings, Gamma, GammaWord};
use crate::networks::Figure;

/// The gate that says when unlabelled voxels count, and how sure a critic must be of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gate {
    asked: bool,
    gamma: Gamma,
    start: f64,
    least_dice: f64,
    least_label_dice: f64,
}

impl Gate {
    pub fn of(settings: &AdversarialSettings) -> Self {
        let AdversarialSettings { semi, gamma, start, least_dice, least_label_dice, .. } = *settings;
        Self { asked: semi > 0.0, gamma, start, least_dice, least_label_dice }
    }

    /// Returns how sure a critic must be now; none while nothing that is unlabelled counts: before its share
    /// of all steps, and as long as the last validation had a Dice below the least, in the mean or of a
    /// label. A label that a validation neither found nor has is not judged.
    pub fn open(&self, moment: &Moment, label_names: &[String]) -> Option<f64> {
        if !self.asked || (moment.step as f64) < self.start * moment.steps as f64 {
            return None;
        }
        let judged: Vec<&Figure> =
            moment.figures.iter().filter(|figure| figure.split == "validation").collect();
        let last = judged.iter().map(|figure| figure.epoch).max();
        let of = |name: &str| {
            let named = |figure: &&&Figure| Some(figure.epoch) == last && figure.name == name;
            judged.iter().find(named).map(|figure| figure.value)
        };
        let mean = of("dice");
        let gamma = match self.gamma {
            Gamma::Fixed(gamma) => gamma,
            Gamma::Word(GammaWord::OneMinusDice) => 1.0 - mean?,
        };
        if self.least_dice <= 0.0 && self.least_label_dice <= 0.0 {
            return Some(gamma);
        }
        // A mean that is NaN is not enough.
        let enough = mean? >= self.least_dice;
        let below =
            |name: &String| of(&format!("dice.{name}")).is_some_and(|dice| dice < self.least_label_dice);
        let lost = label_names.iter().any(below) || mean? < self.least_label_dice;
        (enough && !lost).then_some(gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(gamma: Gamma) -> Gate {
        Gate { asked: true, gamma, start: 0.25, least_dice: 0.5, least_label_dice: 0.2 }
    }

    fn figure(epoch: u64, split: &str, name: &str, value: f64) -> Figure {
        Figure { step: epoch * 10, epoch, split: split.to_owned(), name: name.to_owned(), value }
    }

    #[test]
    fn it_opens_by_steps_and_by_the_last_validation() {
        let names = ["a", "b"].map(str::to_owned);
        let open = |gate: &Gate, step, figures: &[Figure]| {
            let moment = Moment { epoch: 0, step, batch: step, seed: 0, steps: 100, figures };
            gate.open(&moment, &names)
        };
        let judged = |epoch, mean, a, b| {
            vec![
                figure(epoch, "train", "dice", 0.9),
                figure(epoch, "validation", "dice", mean),
                figure(epoch, "validation", "dice.a", a),
                figure(epoch, "validation", "dice.b", b),
            ]
        };
        let fixed = gate(Gamma::Fixed(0.2));
        let good = judged(1, 0.6, 0.9, 0.3);
        assert_eq!(open(&fixed, 24, &good), None);
        assert_eq!(open(&fixed, 25, &good), Some(0.2));
        assert_eq!(open(&fixed, 25, &[]), None);
        assert_eq!(open(&fixed, 25, &judged(1, 0.45, 0.7, 0.2)), None);
        assert_eq!(open(&fixed, 25, &judged(1, 0.52, 0.9, 0.14)), None);
        assert_eq!(open(&fixed, 25, &judged(1, f64::NAN, 0.9, 0.9)), None);
        // The last one decides, in either direction.
        let fallen = [good.clone(), judged(2, 0.3, 0.6, 0.0)].concat();
        assert_eq!(open(&fixed, 30, &fallen), None);
        let risen = [fallen, judged(3, 0.8, 0.8, 0.8)].concat();
        assert_eq!(open(&fixed, 40, &risen), Some(0.2));
        let by_dice = gate(Gamma::Word(GammaWord::OneMinusDice));
        assert_eq!(open(&by_dice, 40, &risen), Some(1.0 - 0.8));
        // The gate opens by steps alone where nothing else is asked for.
        let steps = Gate { least_dice: 0.0, least_label_dice: 0.0, ..fixed };
        assert_eq!((open(&steps, 24, &[]), open(&steps, 25, &[])), (None, Some(0.2)));
        assert_eq!(open(&Gate { asked: false, ..steps }, 99, &[]), None);
    }
}
