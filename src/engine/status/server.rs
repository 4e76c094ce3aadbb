//! `GET /metrics` for Prometheus, on this machine only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tiny_http::{Header, Method, Request, Response, Server};

use super::{Status, StatusError, metrics};

/// What prometheus-client writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Gives the metrics of a run until it is dropped.
pub struct MetricsServer {
    address: SocketAddr,
    server: Arc<Server>,
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
        let local = listener.local_addr().map_err(failed)?;
        let server =
            Server::from_listener(listener, None).map_err(|error| failed(io::Error::other(error)))?;
        let (server, ending) = (Arc::new(server), Arc::new(AtomicBool::new(false)));
        let (inner, flag) = (server.clone(), ending.clone());
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&inner, &latest, &flag))
            .map_err(failed)?;
        Ok(Self { address: local, server, ending, thread: Some(thread) })
    }

    /// Where it listens, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // That it failed was logged by itself.
            let _ = thread.join();
        }
    }
}

fn serve(server: &Server, latest: &Mutex<Status>, ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        match server.recv() {
            // Whoever asked may be gone.
            Ok(request) => drop(answer(request, latest)),
            Err(_) if ending.load(Ordering::Relaxed) => return,
            Err(error) => {
                tracing::warn!(%error, "metrics are given no more");
                return;
            }
        }
    }
}

fn answer(request: Request, latest: &Mutex<Status>) -> io::Result<()> {
    let path = request.url().split('?').next().unwrap_or_default();
    if path != "/metrics" {
        return request.respond(
            Response::from_string("not found: the metrics are at /metrics\n").with_status_code(404),
        );
    }
    if !matches!(request.method(), Method::Get | Method::Head) {
        return request.respond(Response::from_string("GET expected\n").with_status_code(405));
    }
    // A copy, so that a slow reader keeps nobody waiting.
    let status = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let response = Response::from_string(metrics(&status));
    match Header::from_bytes("Content-Type", CONTENT_TYPE) {
        Ok(header) => request.respond(response.with_header(header)),
        Err(()) => request.respond(response),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

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
        // One that asks for nothing keeps nobody.
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
}
