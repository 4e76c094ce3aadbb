//! Says from time to time that this process is there, and names those of which nothing is heard.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::link::Link;

/// The interval at which a process says that it is there.
const EVERY: Duration = Duration::from_secs(1);
/// The time without a word after which a process is named.
const SILENT: Duration = Duration::from_secs(6);
/// The time after which a process that stays silent is named again.
const AGAIN: Duration = Duration::from_secs(30);

/// How it is said that a process is there, with those of which it hears nothing.
pub(super) type Beat = fn(&Link, &[usize]) -> std::io::Result<()>;

/// What is told of processes that are silent, by number, whenever these are others.
type Told = Box<dyn Fn(&[usize]) + Send>;

/// Another process, as the pulse knows it.
struct Other {
    process: usize,
    host: String,
    link: Link,
    /// The time when it was named last; `None` while it is heard.
    named: Option<Instant>,
}

/// Beats until it is dropped.
pub struct Pulse {
    told: Arc<Mutex<Option<Told>>>,
    ending: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Begins to beat on links to other processes.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn start<'p>(
        others: impl Iterator<Item = (usize, &'p str, &'p Link)>,
        beat: Beat,
    ) -> std::io::Result<Self> {
        let other = |(process, host, link): (usize, &str, &Link)| Other {
            process,
            host: host.to_owned(),
            link: link.clone(),
            named: None,
        };
        let mut others: Vec<Other> = others.map(other).collect();
        let told: Arc<Mutex<Option<Told>>> = Arc::default();
        let (ending, ended) = bounded::<()>(0);
        let tell = told.clone();
        let beating = move || {
            let mut before = Vec::new();
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let silent = listen(&mut others, Instant::now());
                for other in others.iter().filter(|other| other.named.is_none()) {
                    // Whoever hears it finds out that a link is broken.
                    let _ = beat(&other.link, &silent);
                }
                if silent != before {
                    let told = tell.lock().unwrap_or_else(PoisonError::into_inner);
                    told.iter().for_each(|told| told(&silent));
                    before = silent;
                }
            }
        };
        let thread = std::thread::Builder::new().name("pulse".to_owned()).spawn(beating)?;
        Ok(Self { told, ending: Some(ending), thread: Some(thread) })
    }

    /// Says who is told of processes that are silent.
    pub fn tell(&self, told: impl Fn(&[usize]) + Send + 'static) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(told));
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.ending = None;
        if let Some(thread) = self.thread.take() {
            // A beat never waits for anybody.
            let _ = thread.join();
        }
    }
}

/// Names processes of which nothing was heard for long, and those that are heard again; the silent ones.
fn listen(others: &mut [Other], now: Instant) -> Vec<usize> {
    let mut all = Vec::new();
    for Other { process, host, link, named } in others {
        let silent = link.silent();
        if silent < SILENT {
            if named.take().is_some() {
                tracing::warn!("process {process} at {host} is heard again");
            }
            continue;
        }
        all.push(*process);
        if named.is_none_or(|at| now.duration_since(at) >= AGAIN) {
            let seconds = silent.as_secs();
            tracing::warn!(
                "nothing was heard of process {process} at {host} for {seconds} s: the run waits for it; if \
                 it is gone, stop all processes and start them again"
            );
            *named = Some(now);
        }
    }
    all
}
