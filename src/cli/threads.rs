//! How this process waits and how many threads it uses, so that others on the machine keep their share.

use std::ffi::OsStr;

use crate::networks;

/// The variable by which OpenMP, which libtorch computes with, is told how its idle threads wait.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";
/// GNU's own variable for the same; who sets it has chosen already.
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// Has OpenMP's idle threads sleep, unless the environment says how they wait.
///
/// By default they spin: on a machine that others use as well, a training then takes many times as long. OpenMP
/// reads the variable when libtorch is loaded, before any code of this program, so the program starts itself once
/// more with the variable set. The process keeps its number. Where it cannot start itself it goes on as it is.
#[cfg(unix)]
pub fn wait_passively() {
    use std::os::unix::process::CommandExt;

    if !spins(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut words = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let error = again.args(words).env(WAIT_POLICY, "passive").exec();
    note!("warning: idle threads of libtorch spin: {error}\nhint: set {WAIT_POLICY}=passive");
}

/// Does nothing: a process cannot take its own place here.
#[cfg(not(unix))]
pub fn wait_passively() {}

/// Whether idle threads spin, by what is set in the environment.
fn spins(is_set: impl Fn(&str) -> bool) -> bool {
    !is_set(WAIT_POLICY) && !is_set(SPIN_COUNT)
}

/// Gives rayon and OpenMP as many threads as were asked for with `--threads`, or else as there are cores.
///
/// By itself OpenMP counts the cores of the machine and not those that a container was given. A number in
/// `OMP_NUM_THREADS` stays, unless the command line says another one.
pub fn share(asked: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if asked == 0 { cores } else { asked };
    if rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().is_err() {
        tracing::debug!("rayon's threads were started before they were counted");
    }
    if let Some(threads) = openmp(asked, cores, std::env::var_os("OMP_NUM_THREADS").as_deref()) {
        networks::set_threads(threads);
    }
}

/// The number of threads that OpenMP is told; none when the environment has told it.
fn openmp(asked: usize, cores: usize, environment: Option<&OsStr>) -> Option<usize> {
    match (asked, environment) {
        (0, Some(said)) if !said.is_empty() => None,
        (0, _) => Some(cores),
        (asked, _) => Some(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_chosen_how_to_wait_keeps_it() {
        assert!(spins(|_| false));
        assert!(!spins(|name| name == WAIT_POLICY));
        assert!(!spins(|name| name == SPIN_COUNT));
    }

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let four = OsStr::new("4");
        assert_eq!(openmp(0, 2, None), Some(2));
        assert_eq!(openmp(0, 2, Some(OsStr::new(""))), Some(2));
        assert_eq!(openmp(0, 2, Some(four)), None);
        assert_eq!(openmp(1, 2, Some(four)), Some(1));
    }
}
