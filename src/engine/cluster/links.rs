//! How processes find each other: everybody listens at its own address, and calls those before it.

use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::message::{Hello, ToPeer, hear, say};
use super::{Agreement, Cluster, ClusterError};

/// How long all may take to come.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long one that has called may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The links of one process.
pub struct Links {
    /// For timely: one to every other process, none at this one's own place.
    pub rows: Vec<Option<TcpStream>>,
    /// For actions: on process 0 one from each other, with its threads; elsewhere one to process 0.
    pub work: Vec<Peer>,
}

/// A link for actions.
pub struct Peer {
    /// The other end.
    pub process: usize,
    /// Its address.
    pub host: String,
    /// Threads of its pool.
    pub threads: usize,
    /// The link.
    pub link: TcpStream,
}

/// Meets all others. Those that would not do the same are refused, with what differs, and then nobody starts.
///
/// # Errors
/// When somebody does not come or does not agree.
pub fn meet(cluster: &Cluster, agreement: &Agreement, threads: usize) -> Result<Links, ClusterError> {
    let deadline = Instant::now() + PATIENCE;
    let own = &cluster.hosts[cluster.process];
    let listening = |source| ClusterError::Listen { process: cluster.process, host: own.clone(), source };
    let listener = TcpListener::bind(own).map_err(listening)?;
    listener.set_nonblocking(true).map_err(listening)?;
    let mut links = Links { rows: (0..cluster.processes()).map(|_| None).collect(), work: Vec::new() };
    if cluster.process > 0 {
        links.work.push(call_first(cluster, agreement, threads, deadline)?);
    } else {
        links.work = welcome(cluster, agreement, &listener, deadline)?;
    }
    for process in 0..cluster.process {
        let mut link = call(cluster, process, deadline)?;
        let hello = Hello::Rows { process: cluster.process };
        say(&mut link, &hello).map_err(|source| ClusterError::Link { process, source })?;
        links.rows[process] = Some(link);
    }
    while links.rows.iter().skip(cluster.process + 1).any(Option::is_none) {
        match accept(&listener) {
            Some((Hello::Rows { process }, link))
                if process > cluster.process && process < links.rows.len() =>
            {
                links.rows[process] = Some(link);
            }
            _ => {
                if let Some(peer) = links.work.iter().find(|peer| is_gone(&peer.link)) {
                    return Err(ClusterError::Lost { process: peer.process, host: peer.host.clone() });
                }
                let absent = links.rows.iter().skip(cluster.process + 1).position(Option::is_none);
                waited(cluster, cluster.process + 1 + absent.unwrap_or_default(), deadline)?;
            }
        }
    }
    Ok(links)
}

/// Process 0 hears everybody, and then tells everybody.
fn welcome(
    cluster: &Cluster,
    agreement: &Agreement,
    listener: &TcpListener,
    deadline: Instant,
) -> Result<Vec<Peer>, ClusterError> {
    let mut peers: Vec<Option<(Peer, Agreement)>> = (1..cluster.processes()).map(|_| None).collect();
    let mut told = Instant::now();
    while let Some(absent) = peers.iter().position(Option::is_none) {
        match accept(listener) {
            Some((Hello::Work { process, agreement, threads }, link)) if process > 0 => {
                let host = cluster.hosts.get(process).cloned().unwrap_or_default();
                let peer = Peer { process, host, threads, link };
                let Some(place) = peers.get_mut(process - 1) else {
                    let count = cluster.processes();
                    let why = format!("`--processes` is {count} on process 0, and process {process} called");
                    return Err(refuse(vec![(peer, agreement)], why));
                };
                *place = Some((peer, agreement));
            }
            _ => waited(cluster, absent + 1, deadline)?,
        }
        // One that is gone again may be started again, and call anew.
        for place in &mut peers {
            if place.as_ref().is_some_and(|(peer, _)| is_gone(&peer.link)) {
                *place = None;
            }
        }
        if told.elapsed() > Duration::from_secs(10) {
            tracing::warn!("waiting for process {} at {}", absent + 1, cluster.hosts[absent + 1]);
            told = Instant::now();
        }
    }
    let peers: Vec<(Peer, Agreement)> = peers.into_iter().flatten().collect();
    let differs = |(peer, other): &(Peer, Agreement)| agreement.difference(other, peer.process);
    if let Some(why) = peers.iter().find_map(differs) {
        return Err(refuse(peers, why));
    }
    let mut welcomed = Vec::with_capacity(peers.len());
    for (mut peer, _) in peers {
        let lost = |source| ClusterError::Link { process: peer.process, source };
        say(&mut peer.link, &ToPeer::Welcome).map_err(lost)?;
        welcomed.push(peer);
    }
    Ok(welcomed)
}

fn refuse(peers: Vec<(Peer, Agreement)>, why: String) -> ClusterError {
    for (mut peer, _) in peers {
        // One that is gone already needs no answer.
        drop(say(&mut peer.link, &ToPeer::Refused(why.clone())));
    }
    ClusterError::Disagree(why)
}

/// Calls process 0, and hears whether all agree.
fn call_first(
    cluster: &Cluster,
    agreement: &Agreement,
    threads: usize,
    deadline: Instant,
) -> Result<Peer, ClusterError> {
    let mut link = call(cluster, 0, deadline)?;
    let broken = |source| ClusterError::Link { process: 0, source };
    let hello = Hello::Work { process: cluster.process, agreement: agreement.clone(), threads };
    say(&mut link, &hello).map_err(broken)?;
    match hear(&mut link).map_err(broken)? {
        ToPeer::Welcome => Ok(Peer { process: 0, host: cluster.hosts[0].clone(), threads: 0, link }),
        ToPeer::Refused(why) => Err(ClusterError::Disagree(why)),
        _ => Err(broken(io::ErrorKind::InvalidData.into())),
    }
}

/// Calls another process until it answers.
fn call(cluster: &Cluster, process: usize, deadline: Instant) -> Result<TcpStream, ClusterError> {
    let host = &cluster.hosts[process];
    loop {
        let connected = reach(host);
        match connected.and_then(|link| link.set_nodelay(true).map(|()| link)) {
            Ok(link) => return Ok(link),
            Err(error) if Instant::now() > deadline => {
                return Err(absent(cluster, process, error.to_string()));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The first of a host's addresses that answers.
fn reach(host: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, HELLO) {
            Ok(link) => return Ok(link),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Somebody who calls and says who it is; strangers are hung up on.
fn accept(listener: &TcpListener) -> Option<(Hello, TcpStream)> {
    let (mut link, _) = listener.accept().ok()?;
    link.set_nonblocking(false).ok()?;
    link.set_nodelay(true).ok()?;
    link.set_read_timeout(Some(HELLO)).ok()?;
    let hello = hear(&mut link).ok()?;
    link.set_read_timeout(None).ok()?;
    Some((hello, link))
}

/// Whether the other end has hung up.
fn is_gone(link: &TcpStream) -> bool {
    let peeked = link.set_nonblocking(true).and_then(|()| link.peek(&mut [0]));
    let blocking = link.set_nonblocking(false);
    match peeked {
        Ok(bytes) => bytes == 0 || blocking.is_err(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

fn waited(cluster: &Cluster, process: usize, deadline: Instant) -> Result<(), ClusterError> {
    if Instant::now() > deadline {
        return Err(absent(cluster, process, "it did not call".to_owned()));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

fn absent(cluster: &Cluster, process: usize, why: String) -> ClusterError {
    let host = cluster.hosts.get(process).cloned().unwrap_or_default();
    ClusterError::Absent { process, host, seconds: PATIENCE.as_secs(), why }
}
