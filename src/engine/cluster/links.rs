//! How processes find each other: everybody listens at its own address, and calls those before it.
//!
//! Anybody may call: each caller is heard in a thread of its own, for a while, and must prove that it knows the secret
//! before a word of ours is said. A stranger holds up nobody, and ends nothing but its own connection.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::link::{Link, keep_alive};
use super::message::{FromPeer, Hello, LONGEST_HELLO, ToPeer, hear, hear_short, say};
use super::pulse::{Beat, Pulse};
use super::secret::{Secret, Until};
use super::{Agreement, Cluster, ClusterError};

/// The longest time that all processes may take to come.
const PATIENCE: Duration = Duration::from_secs(300);

/// The longest time that a process that has called may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);

/// Callers that are heard at once; more are hung up on, and those of ours call again.
const CALLERS: usize = 64;

/// The number of times that another end may hang up before it is taken for a stranger.
const HUNG_UP: usize = 20;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The interval at which processes that do not come are named.
const NAMED: Duration = Duration::from_secs(8);

/// The links of one process.
pub struct Links {
    /// The connections for timely: one to every other process, none at this one's own place.
    pub rows: Vec<Option<TcpStream>>,
    /// The links for actions: on process 0 one from each other process, with its threads; elsewhere one to
    /// process 0.
    pub work: Vec<Peer>,
    /// Says on these that this process is there.
    pub pulse: Pulse,
}

/// A link for actions.
pub struct Peer {
    /// The other end.
    pub process: usize,
    /// The address of the other end.
    pub host: String,
    /// The number of threads of its pool.
    pub threads: usize,
    /// The link.
    pub link: Link,
}

/// Meets all others. Those that would not do the same are refused, with what differs, and then nobody starts.
///
/// # Errors
/// When somebody does not come or does not agree.
pub fn meet(
    cluster: &Cluster,
    agreement: &Agreement,
    threads: usize,
    out: &Path,
) -> Result<Links, ClusterError> {
    let secret = Secret::of(out)?;
    let deadline = Instant::now() + PATIENCE;
    let own = &cluster.hosts[cluster.process];
    let listening = |source| ClusterError::Listen { process: cluster.process, host: own.clone(), source };
    let listener = TcpListener::bind(own).map_err(listening)?;
    let door = Door::open(listener, secret.clone()).map_err(listening)?;
    let mut rows: Vec<Option<TcpStream>> = (0..cluster.processes()).map(|_| None).collect();
    let work = if cluster.process > 0 {
        vec![call_first(cluster, &secret, agreement, threads, deadline)?]
    } else {
        welcome(cluster, agreement, &door, deadline)?
    };
    for (process, row) in rows.iter_mut().enumerate().take(cluster.process) {
        let mut link = call(cluster, &secret, process, deadline)?;
        let hello = Hello::Rows { process: cluster.process };
        say(&mut link, &hello).map_err(|source| ClusterError::Link { process, source })?;
        *row = Some(link);
    }
    let mut named = Instant::now();
    while let Some(absent) = rows.iter().skip(cluster.process + 1).position(Option::is_none) {
        let absent = cluster.process + 1 + absent;
        match door.caller() {
            Some((Hello::Rows { process }, link)) if process > cluster.process && process < rows.len() => {
                rows[process] = Some(link);
            }
            _ => {
                if let Some(peer) = work.iter().find(|peer| is_gone(&peer.link)) {
                    return Err(ClusterError::Lost { process: peer.process, host: peer.host.clone() });
                }
                waited(cluster, absent, deadline, &mut named)?;
            }
        }
    }
    let beat: Beat = match cluster.process {
        0 => |link: &Link, silent: &[usize]| link.say_now(&ToPeer::Beat(silent.to_vec())),
        _ => |link: &Link, _: &[usize]| link.say_now(&FromPeer::Beat),
    };
    let others = work.iter().map(|peer| (peer.process, peer.host.as_str(), &peer.link));
    let pulse = Pulse::start(others, beat).map_err(listening)?;
    Ok(Links { rows, work, pulse })
}

/// Process 0 hears everybody, and then tells everybody.
fn welcome(
    cluster: &Cluster,
    agreement: &Agreement,
    door: &Door,
    deadline: Instant,
) -> Result<Vec<Peer>, ClusterError> {
    let mut peers: Vec<Option<(Peer, Agreement)>> = (1..cluster.processes()).map(|_| None).collect();
    let mut named = Instant::now();
    while let Some(absent) = peers.iter().position(Option::is_none) {
        match door.caller() {
            Some((Hello::Work { process, agreement, threads }, link)) if process > 0 => {
                let host = cluster.hosts.get(process).cloned().unwrap_or_default();
                let peer = Peer { process, host, threads, link: Link::new(link) };
                let Some(place) = peers.get_mut(process - 1) else {
                    let count = cluster.processes();
                    let why = format!("`--processes` is {count} on process 0, and process {process} called");
                    return Err(refuse(vec![(peer, agreement)], why));
                };
                *place = Some((peer, agreement));
            }
            _ => waited(cluster, absent + 1, deadline, &mut named)?,
        }
        // A process that is gone again may be started again, and call anew.
        for place in &mut peers {
            if place.as_ref().is_some_and(|(peer, _)| is_gone(&peer.link)) {
                *place = None;
            }
        }
    }
    let peers: Vec<(Peer, Agreement)> = peers.into_iter().flatten().collect();
    let differs = |(peer, other): &(Peer, Agreement)| agreement.difference(other, peer.process);
    if let Some(why) = peers.iter().find_map(differs) {
        return Err(refuse(peers, why));
    }
    let mut welcomed = Vec::with_capacity(peers.len());
    for (peer, _) in peers {
        let lost = |source| ClusterError::Link { process: peer.process, source };
        peer.link.say(&ToPeer::Welcome).map_err(lost)?;
        welcomed.push(peer);
    }
    Ok(welcomed)
}

fn refuse(peers: Vec<(Peer, Agreement)>, why: String) -> ClusterError {
    for (peer, _) in peers {
        // A process that is gone already needs no answer.
        drop(peer.link.say(&ToPeer::Refused(why.clone())));
    }
    ClusterError::Disagree(why)
}

/// Calls process 0, and hears whether all agree.
fn call_first(
    cluster: &Cluster,
    secret: &Secret,
    agreement: &Agreement,
    threads: usize,
    deadline: Instant,
) -> Result<Peer, ClusterError> {
    let mut link = call(cluster, secret, 0, deadline)?;
    let broken = |source| ClusterError::Link { process: 0, source };
    let hello = Hello::Work { process: cluster.process, agreement: agreement.clone(), threads };
    say(&mut link, &hello).map_err(broken)?;
    let mut waits = Waiting { link: &mut link, what: "process 0 to say that all have come", named: NAMED };
    match hear(&mut waits).map_err(broken)? {
        ToPeer::Welcome => {
            link.set_read_timeout(None).map_err(broken)?;
            Ok(Peer { process: 0, host: cluster.hosts[0].clone(), threads: 0, link: Link::new(link) })
        }
        ToPeer::Refused(why) => Err(ClusterError::Disagree(why)),
        _ => Err(broken(io::ErrorKind::InvalidData.into())),
    }
}

/// Waits for something to be said, and says so from time to time.
struct Waiting<'l> {
    link: &'l mut TcpStream,
    what: &'static str,
    named: Duration,
}

impl io::Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            self.link.set_read_timeout(Some(self.named))?;
            match self.link.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    tracing::warn!("waiting for {}, for {} s now", self.what, began.elapsed().as_secs());
                }
                other => return other,
            }
        }
    }
}

/// Calls another process until it answers, and both have shown that they know the secret.
fn call(
    cluster: &Cluster,
    secret: &Secret,
    process: usize,
    deadline: Instant,
) -> Result<TcpStream, ClusterError> {
    let host = &cluster.hosts[process];
    let (mut hung_up, mut named) = (0, Instant::now());
    loop {
        let failed = match reach(host) {
            Ok(mut link) => match secret.call(&mut link, deadline.min(Instant::now() + HELLO)) {
                Ok(()) => match keep_alive(&link).and_then(|()| link.set_read_timeout(None)) {
                    Ok(()) => return Ok(link),
                    Err(error) => error,
                },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(ClusterError::Stranger { process, host: host.clone() });
                }
                Err(error) => {
                    hung_up += 1;
                    error
                }
            },
            Err(error) => error,
        };
        if hung_up > HUNG_UP {
            return Err(ClusterError::Stranger { process, host: host.clone() });
        }
        if Instant::now() > deadline {
            return Err(absent(cluster, process, failed.to_string()));
        }
        name(cluster, process, &mut named);
        std::thread::sleep(PAUSE);
    }
}

/// The first of a host's addresses that answers.
pub(super) fn reach(host: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, HELLO) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The listening end, to which other processes call.
struct Door {
    callers: Receiver<(Hello, TcpStream)>,
    closed: Arc<AtomicBool>,
}

impl Door {
    /// Begins to listen.
    fn open(listener: TcpListener, secret: Secret) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (to_us, callers) = bounded(CALLERS);
        let closed = Arc::new(AtomicBool::new(false));
        let ends = closed.clone();
        let listening = move || {
            let (inside, mut strangers) = (Arc::new(AtomicUsize::new(0)), 0u64);
            while !ends.load(Ordering::Relaxed) {
                let Ok((link, from)) = listener.accept() else {
                    std::thread::sleep(PAUSE / 10);
                    continue;
                };
                if inside.load(Ordering::Relaxed) >= CALLERS {
                    strangers += 1;
                    if strangers.is_power_of_two() {
                        tracing::warn!(
                            "more than {CALLERS} callers at once, as {from}: {strangers} were hung up on"
                        );
                    }
                    continue;
                }
                inside.fetch_add(1, Ordering::Relaxed);
                let (counted, secret, to_us) = (inside.clone(), secret.clone(), to_us.clone());
                let hearing = move || {
                    if let Err(error) = hear_out(link, &secret, &to_us) {
                        tracing::warn!(
                            "a caller from {from} was hung up on, it is none of this run: {error}"
                        );
                    }
                    counted.fetch_sub(1, Ordering::Relaxed);
                };
                if std::thread::Builder::new().name("caller".to_owned()).spawn(hearing).is_err() {
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new().name("door".to_owned()).spawn(listening)?;
        Ok(Self { callers, closed })
    }

    /// Returns who has called, knows the secret and has said who it is; `None` after a while.
    fn caller(&self) -> Option<(Hello, TcpStream)> {
        self.callers.recv_timeout(PAUSE).ok()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// Hears who calls, within a time, and hands the link on.
fn hear_out(mut link: TcpStream, secret: &Secret, to_us: &Sender<(Hello, TcpStream)>) -> io::Result<()> {
    let deadline = Instant::now() + HELLO;
    link.set_nonblocking(false)?;
    link.set_write_timeout(Some(HELLO))?;
    keep_alive(&link)?;
    secret.answer(&mut link, deadline)?;
    let hello = hear_short(&mut Until { link: &mut link, deadline }, LONGEST_HELLO)?;
    link.set_read_timeout(None)?;
    link.set_write_timeout(None)?;
    // Nobody hears it any more when all have come.
    drop(to_us.try_send((hello, link)));
    Ok(())
}

/// Whether the other end has hung up.
fn is_gone(link: &Link) -> bool {
    let Ok(link) = link.hearing() else { return true };
    let peeked = link.set_nonblocking(true).and_then(|()| link.peek(&mut [0]));
    let blocking = link.set_nonblocking(false);
    match peeked {
        Ok(bytes) => bytes == 0 || blocking.is_err(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

fn waited(
    cluster: &Cluster,
    process: usize,
    deadline: Instant,
    named: &mut Instant,
) -> Result<(), ClusterError> {
    if Instant::now() > deadline {
        return Err(absent(cluster, process, "it did not call".to_owned()));
    }
    name(cluster, process, named);
    Ok(())
}

/// Names from time to time who has not come.
fn name(cluster: &Cluster, process: usize, named: &mut Instant) {
    if named.elapsed() > NAMED {
        tracing::warn!("waiting for process {process} at {}", cluster.hosts[process]);
        *named = Instant::now();
    }
}

fn absent(cluster: &Cluster, process: usize, why: String) -> ClusterError {
    let host = cluster.hosts.get(process).cloned().unwrap_or_default();
    ClusterError::Absent { process, host, seconds: PATIENCE.as_secs(), why }
}
