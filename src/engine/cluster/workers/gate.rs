//! Where workers call: each caller is heard in a thread of its own, proves that it knows the secret, says who it is, and is
//! told what there is to do or why it is refused. A stranger ends nothing but its own connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use serde_json::Value as Json;
use tomoflow_connectors::Digest;
use tomoflow_connectors::shown::visible;

use super::super::link::keep_alive;
use super::super::message::{LONGEST_HELLO as LONGEST_WORD, hear_short, say};
use super::super::secret::{Secret, Until};
use super::super::{Agreement, ClusterError};
use super::Listening;
use super::board::Board;
use super::certificates::{Called, Certificates};
use super::sight::Sight;
use super::talk::{listen, speak};
use super::wire::Wire;
use super::words::{Hello, Join, Joining, LONGEST_HELLO, MAGIC, Offer, Offered, PROTOCOL, Welcomed};
use crate::engine::status::GoneWorkers;

/// The longest time that a worker that has called may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// The longest time that it may then take to read the pipeline.
const READS: Duration = Duration::from_secs(60);
/// Callers that are heard at once; more are hung up on, and workers call again.
const CALLERS: usize = 64;
/// The largest number of workers at once.
const WORKERS: usize = 1024;
/// The pause between two looks for callers.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest time that one message may take to be sent.
const SENDING: Duration = Duration::from_secs(120);

/// What there is to do now, and who does it.
pub struct Task {
    /// What workers are told of it.
    pub offer: Offer,
    /// Who works on it.
    pub board: Arc<Board>,
    /// Whether they see the same files.
    pub sight: Sight,
}

/// The place where workers call while a run lasts.
pub struct Gate {
    shared: Arc<Shared>,
    address: SocketAddr,
    beat: Duration,
    /// What the run listens for.
    pub listening: Listening,
    /// Who took part in the run and is gone.
    pub departed: Arc<Mutex<GoneWorkers>>,
}

struct Shared {
    secret: Secret,
    /// How callers prove themselves beside the secret, where links are encrypted.
    called: Option<Called>,
    /// Whether those who do not see the run's files are sent what they need.
    send: bool,
    /// The task; `None` before there is a plan.
    task: Mutex<Option<Arc<Task>>>,
    closed: AtomicBool,
    inside: AtomicUsize,
    workers: AtomicUsize,
}

impl Gate {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address is none, or others could reach it and there is no token.
    pub fn open(listening: &Listening) -> Result<Self, ClusterError> {
        let host = &listening.address;
        let refused = |source| ClusterError::Gate { host: host.clone(), source };
        let addresses: Vec<SocketAddr> = host.to_socket_addrs().map_err(refused)?.collect();
        let loopback = !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback());
        let secret = Secret::of_workers(listening.token.as_deref(), loopback)?;
        let called = listening.certificates.as_ref().map(Certificates::called).transpose()?;
        let listener = TcpListener::bind(&addresses[..]).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared {
            secret,
            called,
            send: listening.send,
            task: Mutex::new(None),
            closed: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
        });
        let (hears, beats) = (shared.clone(), shared.clone());
        let beat = listening.beat();
        spawn("gate", move || hears.listen(&listener)).map_err(refused)?;
        spawn("beats", move || beats.beat(beat)).map_err(refused)?;
        let how = if listening.certificates.is_some() { " over encrypted links" } else { "" };
        tracing::info!("workers join at {address}{how}");
        Ok(Self { shared, address, beat, listening: listening.clone(), departed: Arc::default() })
    }

    /// Returns the address where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how often workers are to say that they are there.
    pub fn beat(&self) -> Duration {
        self.beat
    }

    /// Gives the workers something to do from now on.
    pub fn begin(&self, task: Task) {
        *self.shared.task() = Some(Arc::new(task));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        *self.shared.task() = None;
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

impl Shared {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<Arc<Task>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self, every: Duration) {
        while !self.closed.load(Ordering::Relaxed) {
            std::thread::sleep(every);
            let task = self.task().clone();
            if let Some(task) = task {
                task.board.beat();
            }
        }
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        let mut turned_away = 0u64;
        while !self.closed.load(Ordering::Relaxed) {
            let Ok((link, from)) = listener.accept() else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let full = self.inside.load(Ordering::Relaxed) >= CALLERS
                || self.workers.load(Ordering::Relaxed) >= WORKERS;
            if full {
                turned_away += 1;
                if turned_away.is_power_of_two() {
                    tracing::warn!("too many callers at once, as {from}: {turned_away} were hung up on");
                }
                continue;
            }
            self.inside.fetch_add(1, Ordering::Relaxed);
            let shared = self.clone();
            let hearing = move || {
                let heard = shared.hear_out(link, from);
                shared.inside.fetch_sub(1, Ordering::Relaxed);
                match heard {
                    Ok(Some((task, number, link))) => {
                        shared.workers.fetch_add(1, Ordering::Relaxed);
                        listen(&task.board, number, link);
                        shared.workers.fetch_sub(1, Ordering::Relaxed);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(
                            "a caller from {from} was hung up on, it is no worker of this run: {error}"
                        );
                    }
                }
            };
            if spawn("caller", hearing).is_err() {
                self.inside.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Hears who calls, each step within a time; none of one that is refused by name.
    fn hear_out(&self, link: TcpStream, from: SocketAddr) -> io::Result<Option<(Arc<Task>, u64, Wire)>> {
        let deadline = Instant::now() + HELLO;
        link.set_nonblocking(false)?;
        link.set_write_timeout(Some(HELLO))?;
        keep_alive(&link)?;
        let mut link = match &self.called {
            Some(called) => Wire::sealed(called.session()?, link, deadline)?,
            None => Wire::Clear(link),
        };
        self.secret.answer(&mut link, deadline)?;
        let hello: Hello = hear_short(&mut Until { link: &mut link, deadline }, LONGEST_HELLO)?;
        let refuse = |link: &mut Wire, why: String| {
            tracing::warn!("a worker at {from} is refused: {why}");
            say(link, &Offered::Refused(why)).map(|()| None)
        };
        if let Err(why) = fits(&hello) {
            return refuse(&mut link, why);
        }
        let Some(task) = self.task().clone() else {
            // The caller hangs up and calls again.
            return Ok(None);
        };
        say(&mut link, &Offered::Pipeline(Box::new(task.offer.clone())))?;
        let deadline = Instant::now() + READS;
        let join = match hear_short(&mut Until { link: &mut link, deadline }, LONGEST_WORD)? {
            Joining::Refuses(why) => {
                tracing::warn!("a worker at {from} does not take part: {}", visible(why));
                return Ok(None);
            }
            Joining::Joins(join) => *join,
        };
        let refuse = |link: &mut Wire, why: String| {
            tracing::warn!("the worker `{}` at {from} is refused: {why}", shown(&join.name));
            say(link, &Welcomed::Refused(why)).map(|()| None)
        };
        if join.plan != digest(&task.offer) {
            return refuse(&mut link, "it would do something else than this run".to_owned());
        }
        let sees = match task.sight.judge(&join.sight) {
            Ok(()) => true,
            Err(_) if self.send => false,
            Err(why) => return refuse(&mut link, format!("it does not see what this run sees: {why}")),
        };
        say(&mut link, &Welcomed::Welcome { sees })?;
        link.stream().set_read_timeout(None)?;
        link.stream().set_write_timeout(Some(SENDING))?;
        let (outbox, said) = unbounded();
        let join = Join { name: shown(&join.name), ..join };
        let admitted = task.board.admit(join, from.to_string(), sees, outbox, link.stream().try_clone()?);
        match admitted {
            Ok(number) => {
                let (mut speaking, board) = (link.try_clone()?, task.board.clone());
                let speaks = move || speak(&mut speaking, &said, &board, number);
                if let Err(error) = spawn("to-worker", speaks) {
                    task.board.gone(number, "no more threads");
                    return Err(error);
                }
                Ok(Some((task, number, link)))
            }
            Err(closed) => say(&mut link, &closed).map(|()| None),
        }
    }
}

/// Whether a caller speaks as this program does.
fn fits(hello: &Hello) -> Result<(), String> {
    let own = Hello::new();
    if hello.magic != MAGIC {
        return Err("a worker expected, something else found".to_owned());
    }
    if hello.protocol != PROTOCOL {
        return Err(format!("the links' protocol is {PROTOCOL} here and {} there", hello.protocol));
    }
    if hello.version != own.version {
        return Err(format!("tomoflow is {} here and {} there", own.version, shown(&hello.version)));
    }
    Ok(())
}

/// Returns the same with the fields of all tables in order.
fn in_order(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<(String, Json)> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            fields.into_iter().map(|(name, value)| (name, in_order(value))).collect()
        }
        Json::Array(items) => items.into_iter().map(in_order).collect(),
        other => other,
    }
}

/// Returns what a worker must come to when it reads what it was told.
pub fn digest(offer: &Offer) -> Digest {
    digest_of(&offer.agreement, &offer.out)
}

/// The digest of what is to be done, whatever order fields were written in.
pub fn digest_of(agreement: &Agreement, out: &Path) -> Digest {
    let Agreement { version, processes, workers, plan } = agreement;
    let numbers = format!("{processes} {workers}");
    let plan = in_order(serde_json::from_str(plan).unwrap_or_default()).to_string();
    let parts = [version.as_bytes(), numbers.as_bytes(), plan.as_bytes(), out.as_os_str().as_encoded_bytes()];
    Digest::of_parts(parts)
}

/// A name from outside, as it may stand in a log.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::message::hear;
    use super::*;

    fn listening(token: &Path) -> Listening {
        Listening {
            address: "127.0.0.1:0".to_owned(),
            token: Some(token.to_owned()),
            certificates: None,
            local: true,
            silence: Duration::from_secs(1),
            send: false,
            text: String::new(),
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let token = place.path().join("token");
        std::fs::write(&token, "one long secret of all\n").unwrap();
        let gate = Gate::open(&listening(&token)).unwrap();
        let secret = Secret::of_workers(Some(&token), false).unwrap();
        let answer = |hello: Hello| -> Option<Offered> {
            let mut link = TcpStream::connect(gate.address()).unwrap();
            secret.call(&mut link, Instant::now() + HELLO).unwrap();
            say(&mut link, &hello).unwrap();
            hear(&mut link).ok()
        };
        for (hello, named) in [
            (Hello { version: "9.9.9".to_owned(), ..Hello::new() }, "and 9.9.9 there"),
            (Hello { protocol: 77, ..Hello::new() }, "protocol is 1 here and 77 there"),
            (Hello { magic: *b"whatever", ..Hello::new() }, "a worker expected"),
        ] {
            match answer(hello) {
                Some(Offered::Refused(why)) => assert!(why.contains(named), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        // Before there is a plan a caller is told nothing, and calls again.
        assert!(answer(Hello::new()).is_none());
    }

    #[test]
    fn an_address_that_others_reach_asks_for_a_token() {
        let open = Listening { address: "0.0.0.0:0".to_owned(), token: None, ..listening(Path::new("")) };
        if std::env::var_os("TOMOFLOW_SECRET").is_none() {
            assert!(matches!(Gate::open(&open), Err(ClusterError::NoToken { loopback: false })));
        }
        let absent = Listening { address: "nowhere.invalid:1".to_owned(), ..listening(Path::new("absent")) };
        assert!(Gate::open(&absent).is_err());
    }
}
