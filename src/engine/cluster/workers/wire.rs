//! A link between a run and a worker: clear, or encrypted where both ends have certificates. One thread hears on it while
//! others speak.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::Connection;

use super::super::secret::{Timed, Until};

/// The number of sealed bytes that are read at once.
const SEALED: usize = 16 << 10;
/// The time for which one that is refused may read why.
const LINGER: Duration = Duration::from_millis(200);

/// One end of a link.
pub enum Wire {
    /// What is said can be read by whoever sits between.
    Clear(TcpStream),
    /// What is said is for the other end alone.
    Sealed(Arc<Sealed>),
}

/// An encrypted link.
pub struct Sealed {
    stream: TcpStream,
    /// The state of both directions; held for as long as bytes are sealed or opened, and never while one waits.
    session: Mutex<Connection>,
    /// Held by whoever sends, so that what was sealed goes out in its order.
    sending: Mutex<()>,
    heard: Mutex<Heard>,
}

/// What came.
struct Heard {
    sealed: Vec<u8>,
    /// What was opened, and not read yet.
    opened: VecDeque<u8>,
    /// Whether the other end said that it says no more.
    closed: bool,
}

impl Wire {
    /// Meets the other end until a moment: both prove themselves by their certificates.
    ///
    /// # Errors
    /// When one of them does not, or not in time.
    pub fn sealed(mut session: Connection, mut stream: TcpStream, deadline: Instant) -> io::Result<Self> {
        loop {
            while session.wants_write() {
                session.write_tls(&mut stream)?;
            }
            if !session.is_handshaking() {
                break;
            }
            if session.read_tls(&mut Until { link: &mut stream, deadline })? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = session.process_new_packets() {
                tell(&mut session, &mut stream);
                return Err(invalid(error));
            }
        }
        let heard = Heard { sealed: vec![0; SEALED], opened: VecDeque::new(), closed: false };
        Ok(Self::Sealed(Arc::new(Sealed {
            stream,
            session: Mutex::new(session),
            sending: Mutex::default(),
            heard: Mutex::new(heard),
        })))
    }

    /// Returns another handle of the same link.
    ///
    /// # Errors
    /// When the system gives no more handles.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Clear(stream) => Self::Clear(stream.try_clone()?),
            Self::Sealed(sealed) => Self::Sealed(sealed.clone()),
        })
    }

    /// Returns the connection, to set times, or to close it.
    pub fn stream(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Sealed(sealed) => &sealed.stream,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Sealed(sealed) => sealed.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Sealed(_) => Ok(()),
        }
    }
}

impl Timed for Wire {
    fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(time)
    }
}

impl Sealed {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut heard = lock(&self.heard);
        let Heard { sealed, opened, closed } = &mut *heard;
        // What came with the end of the meeting is there before anything is waited for.
        *closed |= take(&mut lock(&self.session), opened)?;
        while opened.is_empty() && !*closed && !buffer.is_empty() {
            let count = (&self.stream).read(sealed)?;
            if count == 0 {
                // Whether a message was cut is seen by its length.
                *closed = true;
                break;
            }
            let mut session = lock(&self.session);
            let mut rest = sealed.get(..count).unwrap_or_default();
            while !rest.is_empty() && !*closed {
                session.read_tls(&mut rest)?;
                session.process_new_packets().map_err(invalid)?;
                *closed |= take(&mut session, opened)?;
            }
        }
        opened.read(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let _sending = lock(&self.sending);
        let mut sealed = Vec::new();
        let mut session = lock(&self.session);
        // What hearing asked to be said goes first.
        seal(&mut session, &mut sealed)?;
        let count = session.writer().write(bytes)?;
        seal(&mut session, &mut sealed)?;
        drop(session);
        (&self.stream).write_all(&sealed)?;
        Ok(count)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what was opened, and returns whether the other end says no more.
fn take(session: &mut Connection, opened: &mut VecDeque<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    loop {
        match session.reader().read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => opened.extend(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn seal(session: &mut Connection, sealed: &mut Vec<u8>) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(sealed)?;
    }
    Ok(())
}

/// Tells one that is refused why, as far as it listens: what it said and nobody read would cut that off.
fn tell(session: &mut Connection, stream: &mut TcpStream) {
    while session.wants_write() && session.write_tls(stream).is_ok_and(|count| count > 0) {}
    let deadline = Instant::now() + LINGER;
    let mut rest = [0; SEALED];
    drop(stream.shutdown(Shutdown::Write));
    drop(Until { link: stream, deadline }.read(&mut rest));
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Why a link's certificates do not fit together, where that is what an error says.
pub fn unfit(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::AlertReceived(alert) => {
            format!("it does not take this worker's certificate ({alert:?})")
        }
        rustls::Error::InvalidCertificate(why) => {
            format!("its certificate is none of `--ca` for this address ({why})")
        }
        other => format!("an encrypted link expected, something else found ({other})"),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::certificates::Certificates;
    use super::super::certificates::tests::{files, place};
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (caller, listener.accept().unwrap().0)
    }

    /// Returns what a caller and the called one come to; the caller hears a byte first.
    fn meet(caller: &Certificates, called: &Certificates, host: &str) -> [io::Result<Wire>; 2] {
        let (calls, answers) = pair();
        let (calling, answering) = (caller.caller().unwrap(), called.called().unwrap());
        std::thread::scope(|scope| {
            let calls = scope.spawn(move || {
                let mut wire = Wire::sealed(calling.session(host)?, calls, soon())?;
                wire.read_exact(&mut [0])?;
                Ok(wire)
            });
            let answered = Wire::sealed(answering.session().unwrap(), answers, soon());
            let answered = answered.and_then(|mut wire| wire.write_all(&[1]).map(|()| wire));
            [calls.join().unwrap(), answered]
        })
    }

    fn why(met: io::Result<Wire>) -> String {
        let error = met.err().unwrap();
        unfit(&error).unwrap_or_else(|| format!("not by its certificate: {error:?}"))
    }

    #[test]
    fn both_ends_say_much_at_once_and_hear_it_whole() {
        let [caller, called] = meet(&files("worker"), &files("run"), "localhost:7400").map(Result::unwrap);
        let text: Vec<u8> = (0..3_000_000u32).map(|at| (at % 253) as u8).collect();
        std::thread::scope(|scope| {
            for wire in [&caller, &called] {
                let (mut speaks, mut hears, text) =
                    (wire.try_clone().unwrap(), wire.try_clone().unwrap(), &text);
                scope.spawn(move || {
                    speaks.write_all(text).unwrap();
                    speaks.flush().unwrap();
                });
                scope.spawn(move || {
                    let mut heard = vec![0; text.len()];
                    hears.read_exact(&mut heard).unwrap();
                    assert!(heard == *text);
                });
            }
        });
        // One that hangs up is at its end, and one that says nothing is waited for only so long.
        let mut caller = caller;
        let read = Until { link: &mut caller, deadline: Instant::now() + Duration::from_millis(50) }
            .read(&mut [0])
            .unwrap_err();
        assert!(matches!(read.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{read}");
        called.stream().shutdown(Shutdown::Both).unwrap();
        caller.stream().set_read_timeout(None).unwrap();
        assert_eq!(caller.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn whoever_another_authority_knows_is_refused_on_both_sides() {
        // A worker with a certificate of its own authority, that trusts the run's.
        let worker = Certificates { ca: place("ca.pem"), ..files("stranger") };
        let [caller, called] = meet(&worker, &files("run"), "localhost:7400");
        assert!(why(called).contains("UnknownIssuer"));
        assert!(why(caller).contains("it does not take this worker's certificate"));
        // A run with one.
        let run = Certificates { ca: place("ca.pem"), ..files("stranger") };
        let [caller, called] = meet(&files("worker"), &run, "localhost:7400");
        assert!(why(caller).contains("its certificate is none of `--ca`"));
        assert!(called.is_err());
        // A run that is called by a name that its certificate has not, and a worker in the place of the run.
        let [caller, _] = meet(&files("worker"), &files("run"), "elsewhere.example.org:7400");
        assert!(why(caller).contains("its certificate is none of `--ca` for this address"));
        let [caller, _] = meet(&files("worker"), &files("worker"), "localhost:7400");
        assert!(why(caller).contains("its certificate is none of `--ca` for this address"));
    }

    #[test]
    fn clear_bytes_and_silence_end_in_time() {
        let rules = files("run").called().unwrap();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 64], &[0; 96]] {
            let (mut stranger, called) = pair();
            stranger.write_all(bytes).unwrap();
            let began = Instant::now();
            assert!(Wire::sealed(rules.session().unwrap(), called, soon()).is_err());
            assert!(began.elapsed() < Duration::from_secs(5));
        }
        // One that says nothing, and one that says a byte at a time of what would be right.
        let (stranger, called) = pair();
        let short = Instant::now() + Duration::from_millis(100);
        let silent = Wire::sealed(rules.session().unwrap(), called, short).err().unwrap();
        assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
        drop(stranger);
        let (mut stranger, called) = pair();
        let drips = std::thread::spawn(move || {
            while stranger.write_all(&[0x16]).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let began = Instant::now();
        let short = began + Duration::from_millis(300);
        assert!(Wire::sealed(rules.session().unwrap(), called, short).is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
        drips.join().unwrap();
    }
}
