//! What processes say to each other about actions: a length, then the message.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use super::Agreement;
use super::packed::Packed;
use crate::executor::work::Action;
use crate::operators::cases::rule::Settled;
use crate::store::Recorded;

/// No message is longer: a length beyond it is not one of ours.
const LONGEST: u64 = 256 << 20;

/// The greatest length of the first message, which holds a plan, in bytes.
pub const LONGEST_HELLO: u64 = 16 << 20;

/// What a link is for; the first thing said on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Hello {
    /// Rows of the dataflow, by timely.
    Rows {
        /// The number of the process that speaks.
        process: usize,
    },
    /// Actions and what they led to.
    Work {
        /// The number of the process that speaks.
        process: usize,
        /// What it would do.
        agreement: Agreement,
        /// The number of threads of its pool.
        threads: usize,
    },
}

/// What process 0 says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// All processes agree.
    Welcome,
    /// What rules over the archive are settled on, by stage; said once, first, when the pipeline has any.
    Settled(Vec<(usize, Settled)>),
    /// They do not, so nobody starts.
    Refused(String),
    /// An action to do, with all that is needed to find its files.
    Job(Box<(Action, Packed)>),
    /// The action with this key is no longer wanted.
    Cancel(Digest),
    /// There is no more.
    End,
    /// It is there, and hears nothing of these others.
    Beat(Vec<usize>),
}

/// What another process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// An action has ended.
    Finished(Box<(Action, Recorded)>),
    /// Somebody told that process to stop: the run ends.
    Stop,
    /// The process is there.
    Beat,
}

/// Sends a message.
///
/// # Errors
/// When the link is broken.
pub fn say<T: Serialize>(link: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    link.write_all(&(bytes.len() as u64).to_le_bytes())?;
    link.write_all(&bytes)?;
    link.flush()
}

/// Hears what is said next.
///
/// # Errors
/// When the link is closed or broken, or what comes is no message.
pub fn hear<T: DeserializeOwned>(link: &mut impl Read) -> io::Result<T> {
    hear_short(link, LONGEST)
}

/// Hears a message as [`hear`] does, but one of so many bytes at most.
///
/// # Errors
/// As for [`hear`].
pub fn hear_short<T: DeserializeOwned>(link: &mut impl Read, longest: u64) -> io::Result<T> {
    let mut length = [0; 8];
    link.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > longest {
        let message = format!("a message of at most {longest} bytes expected, {length} announced");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    // Grows with what truly comes, not with what was announced.
    let mut bytes = Vec::new();
    let read = link.take(length).read_to_end(&mut bytes)?;
    if read as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_lies_are_not_believed() {
        let mut link = Vec::new();
        say(&mut link, &ToPeer::Refused("no".into())).unwrap();
        say(&mut link, &ToPeer::End).unwrap();
        let mut heard = link.as_slice();
        assert!(matches!(hear(&mut heard).unwrap(), ToPeer::Refused(why) if why == "no"));
        assert!(matches!(hear(&mut heard).unwrap(), ToPeer::End));
        assert!(hear::<ToPeer>(&mut heard).is_err());
        for end in 0..link.len() {
            let mut cut = &link[..end];
            while hear::<ToPeer>(&mut cut).is_ok() {}
        }
        let huge = u64::MAX.to_le_bytes();
        assert_eq!(hear::<ToPeer>(&mut huge.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
