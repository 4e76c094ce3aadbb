//! `GET /metrics` for Prometheus, on this machine only.
//!
//! A stranger may call as well: a request is read up to a bound and a time, its body not at all; so many connections are
//! answered at once, each once; and none of them holds up the end of the run.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Status, StatusError, metrics};

/// What prometheus-client writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A request's head is no longer than this.
const HEAD: usize = 8 << 10;
/// A request's head has no more lines than this.
const LINES: usize = 64;
/// Connections at once; more are closed at once.
const CONNECTIONS: usize = 16;
/// The longest time that a connection may take, from the first byte to the last.
const TIME: Duration = Duration::from_secs(5);
/// The pause between looks for somebody who calls, and for the end.
const PAUSE: Duration = Duration::from_millis(20);
/// What came after a request is read, so that the answer arrives, but no more of it than this.
const REST: usize = 64 << 10;

/// Gives the metrics of a run until it is dropped.
pub struct MetricsServer {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens on a loopback address; port 0 takes any that is free.
    ///
    /// # Errors
    /// When the address is reached from elsewhere, or when something else listens there.
    pub fn start(address: SocketAddr, latest: Arc<Mutex<Status>>) -> Result<Self, StatusError> {
        if !address.ip().is_loopback() {
            return Err(StatusError::NotLoopback { address });
        }
        let failed = |source| StatusError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let ending = Arc::new(AtomicBool::new(false));
        let flag = ending.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&listener, &latest, &flag))
            .map_err(failed)?;
        Ok(Self { address: local, ending, thread: Some(thread) })
    }

    /// Returns the address where it listens, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread's failure was logged by itself.
            let _ = thread.join();
        }
    }
}

/// A connection that is being answered.
struct Caller {
    link: TcpStream,
    thread: JoinHandle<()>,
}

fn serve(listener: &TcpListener, latest: &Arc<Mutex<Status>>, ending: &AtomicBool) {
    let mut callers: Vec<Caller> = Vec::new();
    while !ending.load(Ordering::Relaxed) {
        callers.retain(|caller| !caller.thread.is_finished());
        match listener.accept() {
            // Whoever comes when there are too many is hung up on.
            Ok(_) if callers.len() >= CONNECTIONS => {}
            Ok((link, _)) => callers.extend(answer_in_thread(link, latest.clone())),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    // Nobody is waited for: what is still being written breaks off.
    for Caller { link, thread } in callers {
        let _ = link.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// Answers in a thread of its own, where the system gives one.
fn answer_in_thread(link: TcpStream, latest: Arc<Mutex<Status>>) -> Option<Caller> {
    link.set_nonblocking(false).ok()?;
    let mut own = link.try_clone().ok()?;
    let answering = move || {
        // Whoever asked may be gone.
        let _ = answer(&mut own, &latest);
        let _ = own.shutdown(Shutdown::Both);
    };
    let thread = std::thread::Builder::new().name("metrics-caller".to_owned()).spawn(answering).ok()?;
    Some(Caller { link, thread })
}

fn answer(link: &mut TcpStream, latest: &Mutex<Status>) -> io::Result<()> {
    let deadline = Instant::now() + TIME;
    let (status, kind, text) = match head(link, deadline)? {
        Asked::Metrics => {
            // A copy, so that a slow reader keeps nobody waiting.
            let status = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ("200 OK", CONTENT_TYPE, metrics(&status))
        }
        Asked::Head => ("200 OK", CONTENT_TYPE, String::new()),
        Asked::Elsewhere => plain("404 Not Found", "not found: the metrics are at /metrics\n"),
        Asked::Otherwise => plain("405 Method Not Allowed", "GET expected\n"),
        Asked::Nonsense => plain("400 Bad Request", "a request of HTTP/1.1 expected\n"),
        Asked::TooLong => plain("431 Request Header Fields Too Large", "a shorter request expected\n"),
    };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    for mut bytes in [head.as_bytes(), text.as_bytes()] {
        while !bytes.is_empty() {
            link.set_write_timeout(Some(left(deadline)?))?;
            let written = link.write(bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
    }
    link.shutdown(Shutdown::Write)?;
    // Closed with bytes unread, the system would take the answer back.
    let (mut room, mut rest) = ([0; 1024], 0);
    while rest < REST {
        link.set_read_timeout(Some(left(deadline)?))?;
        match link.read(&mut room)? {
            0 => break,
            read => rest += read,
        }
    }
    Ok(())
}

fn plain(status: &'static str, text: &str) -> (&'static str, &'static str, String) {
    (status, "text/plain; charset=utf-8", text.to_owned())
}

/// What somebody asks for.
enum Asked {
    Metrics,
    Head,
    Elsewhere,
    Otherwise,
    Nonsense,
    TooLong,
}

/// Reads a request's head, and nothing behind it that must be known.
fn head(link: &mut TcpStream, deadline: Instant) -> io::Result<Asked> {
    let (mut bytes, mut known) = ([0; HEAD], 0);
    loop {
        let Some(room) = bytes.get_mut(known..).filter(|room| !room.is_empty()) else {
            return Ok(Asked::TooLong);
        };
        link.set_read_timeout(Some(left(deadline)?))?;
        match link.read(room)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => known += read,
        }
        let mut lines = [httparse::EMPTY_HEADER; LINES];
        let mut request = httparse::Request::new(&mut lines);
        match request.parse(bytes.get(..known).unwrap_or_default()) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => return Ok(asked(&request)),
            Err(httparse::Error::TooManyHeaders) => return Ok(Asked::TooLong),
            Err(_) => return Ok(Asked::Nonsense),
        }
    }
}

fn asked(request: &httparse::Request<'_, '_>) -> Asked {
    let path = request.path.and_then(|path| path.split('?').next());
    match (path, request.method) {
        (Some("/metrics"), Some("GET")) => Asked::Metrics,
        (Some("/metrics"), Some("HEAD")) => Asked::Head,
        (Some("/metrics"), _) => Asked::Otherwise,
        _ => Asked::Elsewhere,
    }
}

/// The time that is left.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_latest_metrics_are_given() {
        let latest = Arc::new(Mutex::new(Status::new("vs", 1)));
        let server = MetricsServer::start(local(), latest.clone()).unwrap();
        let address = server.local_addr();
        assert_ne!(address.port(), 0);
        let first = ask(address, "GET /metrics");
        assert!(
            first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("\ntomoflow_files 0\n"),
            "{first}"
        );
        assert_eq!(first.matches(CONTENT_TYPE).count(), 1);
        assert_eq!(first.to_lowercase().matches("content-type:").count(), 1);
        latest.lock().unwrap().files = 41;
        assert!(ask(address, "GET /metrics?name[]=x").contains("\ntomoflow_files 41\n"));
        assert!(ask(address, "GET /").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "GET /metrics/other").starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "DELETE /metrics").starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn a_dropped_server_ends_its_thread() {
        let latest = Arc::new(Mutex::new(Status::new("vs", 1)));
        let server = MetricsServer::start(local(), latest.clone()).unwrap();
        let address = server.local_addr();
        // A connection that asks for nothing keeps nobody.
        let _silent = TcpStream::connect(address).unwrap();
        drop(server);
        assert_eq!(Arc::strong_count(&latest), 1);
    }

    #[test]
    fn other_addresses_are_refused_and_taken_ports_are_told() {
        let latest = || Arc::new(Mutex::new(Status::new("vs", 1)));
        let outside = MetricsServer::start(([0, 0, 0, 0], 9464).into(), latest()).err().unwrap();
        assert_eq!(
            outside.to_string(),
            "metrics are given on a loopback address, 0.0.0.0:9464 is reached from elsewhere\n\
             hint: take `127.0.0.1:9464`; an agent or a proxy on this machine passes them on"
        );
        let first = MetricsServer::start(local(), latest()).unwrap();
        let taken = MetricsServer::start(first.local_addr(), latest()).err().unwrap().to_string();
        assert!(taken.contains(&format!("cannot be given on {}", first.local_addr())), "{taken}");
        assert!(taken.ends_with("listens there: take another port"), "{taken}");
    }

    /// Returns what comes back for bytes that may be no request.
    fn send(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIME)).unwrap();
        // It may have been hung up on meanwhile.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_is_no_request_is_answered_and_ends_nothing() {
        let server = MetricsServer::start(local(), Arc::new(Mutex::new(Status::new("vs", 1)))).unwrap();
        let address = server.local_addr();
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(200));
        let pieces = "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
        let many_at_once = "GET /metrics HTTP/1.1\r\n\r\n".repeat(2000);
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK"),
            (pieces, "HTTP/1.1 200 OK"),
            (many_at_once.as_str(), "HTTP/1.1 200 OK"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
            (long.as_str(), "HTTP/1.1 431 Request Header Fields Too Large"),
            (many.as_str(), "HTTP/1.1 431 Request Header Fields Too Large"),
            ("\0\0\0\0", "HTTP/1.1 400 Bad Request"),
            ("GET /metrics HTTP/9.9\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ] {
            assert_eq!(send(address, request.as_bytes()), expected, "{}", &request[..request.len().min(60)]);
        }
        assert!(ask(address, "GET /metrics").contains("\ntomoflow_up 1\n"));
    }

    #[test]
    fn clients_that_do_not_read_or_end_keep_nobody() {
        let latest = Arc::new(Mutex::new(Status::new("vs", 1)));
        let server = MetricsServer::start(local(), latest.clone()).unwrap();
        let address = server.local_addr();
        // As many connections as there may be ask without end, and read nothing; the next one is hung up on.
        let mut stuck = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
            stuck.push(stream);
        }
        std::thread::sleep(10 * PAUSE);
        assert_eq!(send(address, b"GET /metrics HTTP/1.1\r\n\r\n"), "");
        let began = Instant::now();
        drop(server);
        assert!(began.elapsed() < TIME / 2, "{:?}", began.elapsed());
        assert_eq!(Arc::strong_count(&latest), 1);
    }

    #[test]
    fn one_that_drips_is_cut_off_in_time() {
        let server = MetricsServer::start(local(), Arc::new(Mutex::new(Status::new("vs", 1)))).unwrap();
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(2 * TIME)).unwrap();
        let mut dripping = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while dripping.write_all(b"a").is_ok() {
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let began = Instant::now();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        assert!(began.elapsed() < 2 * TIME && text.is_empty(), "{:?}", began.elapsed());
    }
}
