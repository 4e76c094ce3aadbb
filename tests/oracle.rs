//! Streamed results equal batch results: random changes to a live archive end in the tables of a run from
//! nothing, and run the actions that a plain model of dependencies calls necessary.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::Workplace;

/// What the archive holds: series by number, and how far its label was moved.
type State = BTreeMap<usize, usize>;

/// Keys that a plain model of dependencies knows: what each action depends on, written out.
#[derive(Default)]
struct Model {
    done: BTreeSet<(&'static str, usize, usize, u32)>,
}

impl Model {
    /// How many actions a run on this state must do.
    fn necessary(&mut self, state: &State, threshold: u32) -> usize {
        let mut count = 0;
        for (&series, &moved) in state {
            // A mask depends on the scan and the threshold; metrics on the mask and the label.
            for key in [
                ("bright", series, 0, threshold),
                ("largest", series, 0, threshold),
                ("scores", series, moved, threshold),
            ] {
                count += usize::from(self.done.insert(key));
            }
        }
        count
    }
}

fn random_changes(seed: u64, steps: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = Workplace::new(2);
    let mut state: State = BTreeMap::from([(0, 0), (1, 0)]);
    let (mut model, mut threshold) = (Model::default(), 5);
    for step in 0..steps {
        for _ in 0..rng.random_range(0..3) {
            let series = rng.random_range(0..4);
            match rng.random_range(0..5) {
                0 | 1 if !state.contains_key(&series) => {
                    place.add(series);
                    state.insert(series, 0);
                }
                2 if state.contains_key(&series) && state.len() > 1 => {
                    place.delete(series);
                    state.remove(&series);
                }
                3 if state.contains_key(&series) => {
                    let moved = rng.random_range(0..3);
                    place.move_label(series, moved);
                    state.insert(series, moved);
                }
                4 => {
                    let before = format!("above = 0.{threshold}");
                    threshold = rng.random_range(5..8);
                    place.text = place.text.replace(&before, &format!("above = 0.{threshold}"));
                }
                _ => {}
            }
        }
        let summary = place.run();
        assert_eq!(
            summary.actions_run,
            model.necessary(&state, threshold),
            "seed {seed}, step {step}: {summary}"
        );
        assert_eq!(summary.cases, state.len(), "seed {seed}, step {step}");
    }
    assert_eq!(place.tables(), place.anew(), "seed {seed}");
}

#[test]
fn random_changes_end_where_a_run_from_nothing_does() {
    for seed in 0..4 {
        random_changes(seed, 12);
    }
}
