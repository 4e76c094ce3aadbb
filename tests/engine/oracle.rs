//! Streamed results equal batch results: random changes to a live pipeline end in the tables of a run from
//! nothing, and run exactly the actions that a plain model of dependencies calls necessary.

use std::collections::BTreeSet;

use crate::support::assert_same;
use crate::support::world::World;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::engine::Session;

/// Steps between two comparisons with a run from nothing.
const COMPARE_EVERY: usize = 40;

fn open(world: &World) -> Session {
    Session::open(world.plan(None), world.options()).unwrap()
}

/// Changes come one after the other to a pipeline that stays open; each is worked through.
fn one_by_one(seed: u64, steps: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new(seed);
    let (mut session, mut ran, mut looked, mut done) = (open(&world), 0, false, BTreeSet::new());
    for step in 0..steps {
        let before = world.declared();
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            changes.extend(world.change(&mut rng));
        }
        if world.declared() != before || rng.random_bool(0.05) {
            // Another pipeline, or the same one started again: the rest is found in the store.
            session.finish().unwrap();
            (session, ran, looked) = (open(&world), 0, false);
        }
        if looked && rng.random_bool(0.5) {
            session.update(world.touched()).unwrap();
        } else {
            session.look().unwrap();
            looked = true;
        }
        world.touched().clear();
        assert!(session.work(&mut |_| {}).unwrap());
        let summary = session.settle().unwrap();
        let necessary = world.necessary(&mut done);
        assert_eq!(
            summary.actions_run - ran,
            necessary.len(),
            "seed {seed}, step {step}, after {changes:?}: necessary {necessary:?}\n{summary}"
        );
        ran = summary.actions_run;
        assert_eq!(
            summary.accepted,
            world.accepted(),
            "seed {seed}, step {step}, after {changes:?}: {summary}"
        );
        if step % COMPARE_EVERY == COMPARE_EVERY - 1 {
            assert_same(&world.tables(), &world.anew(), &format!("seed {seed}, step {step}"));
        }
    }
    session.finish().unwrap();
    assert_same(&world.tables(), &world.anew(), &format!("seed {seed}"));
}

#[test]
fn random_changes_end_where_a_run_from_nothing_does() {
    // More with TOMOFLOW_ORACLE_SEEDS; each seed is a few hundred changes.
    let seeds = std::env::var("TOMOFLOW_ORACLE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let first = std::env::var("TOMOFLOW_ORACLE_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds.unwrap_or(4) {
        one_by_one(seed, 120);
    }
}

/// Changes that come while others are worked on: actions are cancelled, and wanted again.
fn in_a_hurry(seed: u64, steps: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World::new(seed);
    let before = world.declared();
    let mut session = open(&world);
    session.look().unwrap();
    for _ in 0..steps {
        world.change(&mut rng);
        if world.declared() != before {
            world.redeclare_as(&before);
        }
        session.look().unwrap();
        for _ in 0..rng.random_range(0..3) {
            session.tick().unwrap();
        }
    }
    session.look().unwrap();
    assert!(session.work(&mut |_| {}).unwrap());
    session.finish().unwrap();
    assert_same(&world.tables(), &world.anew(), &format!("seed {seed}"));
}

#[test]
fn changes_while_others_are_worked_on_end_there_too() {
    for seed in 10..14 {
        in_a_hurry(seed, 60);
    }
}
