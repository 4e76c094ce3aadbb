//! Named moments of a run at which a test can end, break or hold the process.
//!
//! `TOMOFLOW_POINT=NAME:COUNT:ACTION` makes the `COUNT`th passing of a point `abort` the process (as a
//! power cut would: no destructor runs), `panic`, fail as a `full` disk does, or `hang`; `slow` makes it and all later ones take a quarter of a second each. Without the
//! variable a point costs one load. All of it is there in what `cargo test` builds alone (the feature `points`): a program
//! that is handed on passes every point, whatever its environment says.

use std::io;

/// Every point, in the order in which a run passes them.
pub const ALL: &[&str] = &[
    INDEX_WRITTEN,
    SERIES_WRITTEN,
    ARTIFACT_STAGED,
    ARTIFACT_NAMED,
    OUTCOME_RECORDED,
    OUTCOME_FED,
    TABLE_STAGED,
    TABLE_COMMITTED,
    HISTORY_WRITTEN,
    RUN_APPENDED,
];

/// Files read are in the index; their series are not judged yet.
pub const INDEX_WRITTEN: &str = "index.written";
/// The series' verdicts are in the index.
pub const SERIES_WRITTEN: &str = "series.written";
/// An artifact lies in the staging folder.
pub const ARTIFACT_STAGED: &str = "artifact.staged";
/// An artifact has its name, no outcome tells of it yet.
pub const ARTIFACT_NAMED: &str = "artifact.named";
/// Outcomes are in the action cache; the control plane has not been told.
pub const OUTCOME_RECORDED: &str = "outcome.recorded";
/// The control plane has been told of outcomes.
pub const OUTCOME_FED: &str = "outcome.fed";
/// A table's new files are written; its log does not name them yet.
pub const TABLE_STAGED: &str = "table.staged";
/// A table's log names its new files.
pub const TABLE_COMMITTED: &str = "table.committed";
/// What made each output is in the store.
pub const HISTORY_WRITTEN: &str = "history.written";
/// The run's own row is in `runs`.
pub const RUN_APPENDED: &str = "run.appended";
/// A timely worker is about to take a batch; only for panics, which must end the process.
pub const WORKER_BATCH: &str = "worker.batch";

/// Passes a point.
///
/// # Errors
/// What a full disk would answer, when a test asks for that.
///
/// # Panics
/// Panics when a test asks for that.
pub fn pass(name: &str) -> io::Result<()> {
    #[cfg(feature = "points")]
    armed::pass(name)?;
    let _ = name;
    Ok(())
}

#[cfg(feature = "points")]
mod armed {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    const SLOW: Duration = Duration::from_millis(250);

    struct Armed {
        name: String,
        action: String,
        left: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var("TOMOFLOW_POINT").ok()?;
            let mut parts = text.split(':');
            let (name, count, action) = (parts.next()?, parts.next()?, parts.next()?);
            let left = AtomicU64::new(count.parse().ok()?);
            Some(Armed { name: name.to_owned(), action: action.to_owned(), left })
        };
        ARMED.get_or_init(read).as_ref()
    }

    #[expect(clippy::panic, reason = "a panic is what the test asks for")]
    pub(super) fn pass(name: &str) -> io::Result<()> {
        let Some(armed) = armed().filter(|armed| armed.name == name) else { return Ok(()) };
        let last = armed.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        // Once the count is reached nothing is left to take away.
        if armed.action == "slow" && armed.left.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(SLOW);
        }
        if last != Ok(1) {
            return Ok(());
        }
        match armed.action.as_str() {
            "abort" => std::process::abort(),
            "panic" => panic!("a test asked for it at {name}"),
            "full" => Err(io::Error::from(io::ErrorKind::StorageFull)),
            "hang" => loop {
                std::thread::park();
            },
            _ => Ok(()),
        }
    }
}
