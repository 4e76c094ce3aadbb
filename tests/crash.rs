//! A run that is killed at any moment and started again ends with the tables of an undisturbed one.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::Workplace;

fn command(place: &Workplace) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    // As many threads as in this process, so that sums are taken in the same order.
    command.env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
    command.arg("run").arg(place.pipeline()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn killed_at_random_moments_a_run_ends_the_same() {
    kill_and_compare(&Workplace::new(3), 30);
}

#[test]
fn a_killed_training_goes_on_to_the_same_model() {
    let mut place = Workplace::trained();
    place.text = place.text.replace("epochs = 2", "epochs = 6");
    kill_and_compare(&place, 12);
}

fn kill_and_compare(place: &Workplace, rounds: usize) {
    let expected = place.anew();
    let started = Instant::now();
    assert!(command(place).status().unwrap().success());
    let undisturbed = started.elapsed();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for round in 0..rounds {
        if round % 6 == 0 {
            std::fs::remove_dir_all(place.out()).unwrap();
        }
        let mut child = command(place).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(undisturbed.as_secs_f64() * rng.random_range(0.0..1.2)));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 6 == 5 {
            let last = command(place).status().unwrap();
            assert!(last.success(), "round {round}: {last}");
            assert_eq!(place.tables(), expected, "round {round}");
        }
    }
}
