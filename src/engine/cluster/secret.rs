//! Who is at the other end of a link: whoever knows the secret that processes share, and nobody else.
//!
//! Each end says a number of its own, and proves that it knows the secret by a keyed digest of both: nothing can be said
//! again later, and a stranger hears nothing but a number.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tomoflow_connectors::reading;

use super::ClusterError;

/// The environment's variable for a secret that is not kept in the store.
const VARIABLE: &str = "TOMOFLOW_SECRET";
/// The file in the store, which all processes share.
const FILE: &str = "links.key";
/// The key of those who work on one machine without a token, below the user's own state.
const OWN: &str = "tomoflow/workers.key";
/// No secret is longer, nor shorter.
const LONGEST: u64 = 4096;
const SHORTEST: usize = 16;

/// What processes of one run know.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

/// Bytes of a number, and of a proof.
const NUMBER: usize = 32;

impl Secret {
    /// Reads the secret from the environment, or else from the store below `out`, where the first process
    /// makes it.
    pub(super) fn of(out: &Path) -> Result<Self, ClusterError> {
        if let Some(text) = std::env::var_os(VARIABLE) {
            return Self::new(text.as_encoded_bytes());
        }
        let path = out.join("store").join(FILE);
        let bytes = kept(&path).map_err(|source| ClusterError::Secret { path: path.clone(), source })?;
        Self::new(&bytes)
    }

    fn new(bytes: &[u8]) -> Result<Self, ClusterError> {
        Self::for_links(bytes, "tomoflow links between processes")
    }

    /// Reads what a run and its workers know from the file, or the environment. Without either it is a key
    /// that lies with the user's own state, so that nobody but the same user can join; only on this machine
    /// alone.
    pub(super) fn of_workers(token: Option<&Path>, loopback: bool) -> Result<Self, ClusterError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| ClusterError::Token { path, source }
        };
        let bytes = match (token, std::env::var_os(VARIABLE)) {
            (Some(path), _) => reading::beginning(path, LONGEST).map_err(refused(path))?,
            (None, Some(text)) => text.as_encoded_bytes().to_vec(),
            (None, None) if loopback => {
                let path = own_key().ok_or(ClusterError::NoToken { loopback })?;
                kept(&path).map_err(refused(&path))?
            }
            (None, None) => return Err(ClusterError::NoToken { loopback }),
        };
        // An editor ends a file with a line break; it is no part of what somebody chose.
        Self::for_links(bytes.trim_ascii_end(), "tomoflow links to workers")
    }

    fn for_links(bytes: &[u8], what: &str) -> Result<Self, ClusterError> {
        if bytes.len() < SHORTEST {
            return Err(ClusterError::Short { expected: SHORTEST, found: bytes.len() });
        }
        Ok(Self(blake3::derive_key(what, bytes)))
    }

    fn proof(&self, whose: &str, numbers: [&[u8; NUMBER]; 2]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(whose.as_bytes());
        for number in numbers {
            hasher.update(number);
        }
        hasher.finalize()
    }

    /// Proves itself as the one who called, and has the other end prove itself.
    pub(super) fn call(&self, link: &mut impl Timed, deadline: Instant) -> io::Result<()> {
        let own: [u8; NUMBER] = rand::random();
        let theirs = read(link, deadline)?;
        let proof = self.proof("who called", [&theirs, &own]);
        link.write_all(&[own, *proof.as_bytes()].concat())?;
        match blake3::Hash::from_bytes(read(link, deadline)?) == self.proof("who was called", [&theirs, &own])
        {
            true => Ok(()),
            false => Err(ErrorKind::PermissionDenied.into()),
        }
    }

    /// Answers as the one who was called: the caller has to prove itself first.
    pub(super) fn answer(&self, link: &mut impl Timed, deadline: Instant) -> io::Result<()> {
        let own: [u8; NUMBER] = rand::random();
        link.write_all(&own)?;
        let theirs = read(link, deadline)?;
        // Digests are compared in constant time.
        if blake3::Hash::from_bytes(read(link, deadline)?) != self.proof("who called", [&own, &theirs]) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        link.write_all(self.proof("who was called", [&own, &theirs]).as_bytes())
    }
}

/// Reads so many bytes until a moment, however slowly they drip.
fn read(link: &mut impl Timed, deadline: Instant) -> io::Result<[u8; NUMBER]> {
    let mut bytes = [0; NUMBER];
    Until { link, deadline }.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A link on which nobody waits longer than they want.
pub(super) trait Timed: Read + Write {
    /// Has each reading end after a time; `None` for never.
    fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()>;
}

impl Timed for TcpStream {
    fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(time)
    }
}

/// A link that gives up at a moment.
pub(super) struct Until<'l, L> {
    pub(super) link: &'l mut L,
    pub(super) deadline: Instant,
}

impl<L: Timed> Read for Until<'_, L> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.link.wait_at_most(Some(left.max(Duration::from_millis(1))))?;
        self.link.read(buffer)
    }
}

/// Returns where the user's own key lies: below `XDG_STATE_HOME`, or `.local/state` at home.
fn own_key() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join(OWN))
}

/// The secret in the store, for its owner alone; of several processes that start at once one makes it.
fn kept(path: &Path) -> io::Result<Vec<u8>> {
    loop {
        match reading::open(path) {
            Ok((file, _)) => {
                let mut bytes = Vec::new();
                file.take(LONGEST).read_to_end(&mut bytes)?;
                return Ok(bytes);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // It appears whole, and the first one stays.
        let staged = path.with_extension(format!("{}.{:016x}", std::process::id(), rand::random::<u64>()));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&staged)?;
        let written = file.write_all(&rand::random::<[u8; 32]>()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| fs::hard_link(&staged, path));
        fs::remove_file(&staged)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// Returns what a caller and the called one come to.
    fn meet(caller: &Secret, called: &Secret) -> [io::Result<()>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let calls = scope.spawn(move || {
                let mut link = TcpStream::connect(address).unwrap();
                caller.call(&mut link, soon())
            });
            let answered = called.answer(&mut listener.accept().unwrap().0, soon());
            [calls.join().unwrap(), answered]
        })
    }

    #[test]
    fn only_who_knows_the_secret_is_let_in() {
        let (a, b) = (Secret::new(&[1; 32]).unwrap(), Secret::new(&[2; 32]).unwrap());
        assert!(meet(&a, &a).iter().all(Result::is_ok));
        let [caller, called] = meet(&a, &b);
        assert!(caller.is_err());
        assert_eq!(called.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(matches!(Secret::new(b"short"), Err(ClusterError::Short { found: 5, .. })));
    }

    #[test]
    fn a_stranger_hears_a_number_and_is_given_up_in_time() {
        let secret = Secret::new(&[1; 32]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut link = listener.accept().unwrap().0;
        let dripping = stranger.try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            let mut dripping = dripping;
            while dripping.write_all(&[1]).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let given_up = secret.answer(&mut link, Instant::now() + Duration::from_millis(300)).unwrap_err();
        assert!(matches!(given_up.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{given_up}");
        assert!(began.elapsed() < Duration::from_secs(3));
        drop(link);
        let mut heard = Vec::new();
        let _ = stranger.read_to_end(&mut heard);
        assert_eq!(heard.len(), NUMBER);
        drip.join().unwrap();
    }

    #[test]
    fn of_many_processes_one_makes_the_secret() {
        let out = tempfile::tempdir().unwrap();
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Secret::of(out.path()).unwrap().0)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        let store = out.path().join("store");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store), mode(&store.join(FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(store).unwrap().count(), 1);
    }
}
