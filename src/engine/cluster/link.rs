//! A link to another process: several threads may write, each a whole message at a time, and one hears.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::message;

/// The system asks an end that says nothing whether it is there, and gives it up after this many seconds in all.
const ASKED_AFTER: libc::c_int = 10;
const ASKED_EVERY: libc::c_int = 5;
const ASKED_TIMES: libc::c_int = 4;

/// A link to another process.
pub struct Link<W = TcpStream> {
    writing: Arc<Mutex<W>>,
    /// The time when something was heard last; `None` before anybody listens.
    heard: Arc<Mutex<Option<Instant>>>,
}

impl<W> Clone for Link<W> {
    fn clone(&self) -> Self {
        Self { writing: self.writing.clone(), heard: self.heard.clone() }
    }
}

impl Link {
    /// The connection, to hear what is said on it.
    ///
    /// # Errors
    /// When the system gives no more handles.
    pub fn hearing(&self) -> io::Result<TcpStream> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).try_clone()
    }
}

impl<W: Write> Link<W> {
    /// A link over a connection.
    pub fn new(stream: W) -> Self {
        Self { writing: Arc::new(Mutex::new(stream)), heard: Arc::default() }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the link is broken.
    pub fn say<T: Serialize>(&self, message: &T) -> io::Result<()> {
        message::say(&mut *self.writing.lock().unwrap_or_else(PoisonError::into_inner), message)
    }

    /// Says something unless somebody else is speaking: nobody waits for it.
    ///
    /// # Errors
    /// When the link is broken.
    pub fn say_now<T: Serialize>(&self, message: &T) -> io::Result<()> {
        self.writing.try_lock().map_or(Ok(()), |mut link| message::say(&mut *link, message))
    }

    /// Notes that something was heard, or that somebody begins to listen.
    pub fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns the time for which nothing was heard, since somebody listens.
    pub fn silent(&self) -> Duration {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }
}

/// Has the system find out that the other end's machine, or the way to it, is gone.
///
/// # Errors
/// What the system says.
pub fn keep_alive(link: &TcpStream) -> io::Result<()> {
    link.set_nodelay(true)?;
    set(link, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(link, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, ASKED_AFTER)?;
    set(link, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, ASKED_EVERY)?;
    set(link, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, ASKED_TIMES)
}

fn set(link: &TcpStream, level: libc::c_int, what: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the handle is open, and the value is one number that lives as long as the call.
    let done = unsafe { libc::setsockopt(link.as_raw_fd(), level, what, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
