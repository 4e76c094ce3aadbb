//! How a worker reaches a run: it calls, and both ends prove themselves before a word is said.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::super::ClusterError;
use super::super::link::keep_alive;
use super::super::links::reach;
use super::super::secret::Secret;
use super::certificates::Caller;
use super::wire::{Wire, unfit};
use crate::engine::error::RunError;

/// The longest time that a call, and each step of the meeting, may take.
const HELLO: Duration = Duration::from_secs(10);

pub(super) const TOKEN: &str =
    "the run and its workers are given one `--token-file`, or one `TOMOFLOW_SECRET`";
const CERTIFICATES: &str = "the run and its workers have certificates of one authority (`--cert`, `--key`, `--ca`), the run's for the name or the address that `--join` gives, or none of them has";
/// What may be wrong where a run without a word is called by a worker without certificates.
pub(super) const UNSAID: &str = "perhaps it asks for certificates (`--cert`, `--key`, `--ca`)";

/// The reasons why a worker and a run did not meet.
pub(super) enum Unmet {
    /// Trying again mends nothing.
    Refused(RunError),
    /// It knows another secret, or is busy with others: it cannot be told.
    HungUp,
    /// It may be there later.
    Absent(String),
}

impl From<io::Error> for Unmet {
    fn from(error: io::Error) -> Self {
        Self::Absent(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it hung up, perhaps it is not ready".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Whom a worker calls, and how it proves itself.
pub(super) struct Call<'a> {
    pub(super) address: &'a str,
    pub(super) secret: &'a Secret,
    /// The certificates, where the link is to be encrypted.
    pub(super) caller: Option<&'a Caller>,
}

impl Call<'_> {
    /// Returns the link to a run that has proved itself, and the moment until which it must have said what there is to do.
    pub(super) fn meet(&self) -> Result<(Wire, Instant), Unmet> {
        let link = reach(self.address)?;
        let deadline = Instant::now() + HELLO;
        link.set_write_timeout(Some(HELLO))?;
        keep_alive(&link)?;
        let mut link = self.wire(link, deadline).map_err(|error| self.unmet(error))?;
        match self.secret.call(&mut link, deadline) {
            Ok(()) => Ok((link, deadline)),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::PermissionDenied => self.refused("it knows another token".to_owned(), TOKEN),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Unmet::HungUp,
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock if self.caller.is_none() => {
                    Unmet::Absent(format!("it says nothing; {UNSAID}"))
                }
                _ => self.unmet(error),
            }),
        }
    }

    fn wire(&self, link: TcpStream, deadline: Instant) -> io::Result<Wire> {
        match self.caller {
            Some(caller) => Wire::sealed(caller.session(self.address)?, link, deadline),
            None => Ok(Wire::Clear(link)),
        }
    }

    /// Why a call came to nothing: certificates that do not fit will not fit the next time either.
    fn unmet(&self, error: io::Error) -> Unmet {
        match unfit(&error) {
            Some(why) => self.refused(why, CERTIFICATES),
            None if error.kind() == io::ErrorKind::InvalidInput => {
                self.refused(error.to_string(), CERTIFICATES)
            }
            None => error.into(),
        }
    }

    /// The run does not take this worker, or the worker not the run.
    pub(super) fn refused(&self, why: String, hint: &'static str) -> Unmet {
        Unmet::Refused(ClusterError::Refused { host: self.address.to_owned(), why, hint }.into())
    }
}
