//! A learner that is moved on some batches alone.

use super::*;

/// One number that its loss always pulls down, on every other batch.
struct Drift(Unet, NetworkConfig, Layout, Parameter);

impl Objective for Drift {
    fn identity(&self) -> Option<String> {
        Some("drift".to_owned())
    }

    fn learners(&self) -> Vec<Pupil> {
        let pupil =
            |name: &str, layout: &Layout| Pupil { name: name.to_owned(), layout: layout.clone(), rule: None };
        vec![pupil("segmenter", self.0.layout()), pupil("drift", &self.2)]
    }

    fn network(&self) -> &NetworkConfig {
        &self.1
    }

    fn teaches(&self) -> Teaches {
        Teaches::Anything
    }

    fn figures(&self) -> Vec<Recorded> {
        Vec::new()
    }

    fn losses(&self, learners: &[Learner], _: &Batch, moment: &Moment) -> Result<Vec<Loss>, NetworkError> {
        let value = learners[1].weights.get(self.3).f_sum(Kind::Float)?;
        let drift = Loss { name: "drift".to_owned(), value, moves: Some(1) };
        Ok(if moment.batch % 2 == 1 { vec![drift] } else { Vec::new() })
    }

    fn decides(&self) -> &str {
        "nothing"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        struct Nothing;
        impl Score for Nothing {
            fn judge(&mut self, _: &Weights, _: &Batch) -> Result<(), NetworkError> {
                Ok(())
            }

            fn figures(&self) -> Vec<(String, f64)> {
                Vec::new()
            }
        }
        Box::new(Nothing)
    }
}

#[test]
fn adam_counts_the_steps_that_were_taken() {
    let Adversarial { network, unet, .. } = adversarial();
    let mut layout = Layout::default();
    let parameter = layout.parameter("number".to_owned(), &[1], Init::Constant(0.0));
    let settings = TrainSettings { halve_every: 0, weight_decay: 0.0, ..settings() };
    let folder = tempfile::tempdir().unwrap();
    let drift = Drift(unet, network, layout, parameter);
    run_by(&drift, &settings, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    // Fifteen batches, seven of them its own; with a gradient of 1 each unbiased step is the whole rate.
    let found = numbers(&checkpoint(folder.path()), "drift/parameters");
    assert!((found[0] + 7.0 * 1e-2).abs() < 1e-6, "{found:?}");
}
