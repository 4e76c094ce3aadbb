//! The run's side of a link to a worker: one thread says what is to be said, another hears.

use std::io;
use std::path::Path;

use crossbeam_channel::Receiver;
use tomoflow_connectors::container;
use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::reading::Held;

use super::super::message::{hear, say};
use super::board::Board;
use super::member::ToSend;
use super::wire::Wire;
use super::words::{FromWorker, Piece, ToWorker, What, pieces};
use crate::store::Incoming;

/// Says to a worker what is to be said, until it is gone or there is no more.
pub fn speak(link: &mut Wire, said: &Receiver<ToSend>, board: &Board, number: u64) {
    for message in said {
        let ends = matches!(message, ToSend::Said(ToWorker::End | ToWorker::Again));
        let sent = match message {
            ToSend::Said(said) => say(link, &said),
            ToSend::File { lease, what, path, indexed } => send(link, lease, what, &path, indexed.as_ref()),
        };
        if let Err(error) = sent {
            board.gone(number, &error.to_string());
            return;
        }
        if ends {
            return;
        }
    }
}

/// Sends a file, or why it is not to be had.
fn send(link: &mut Wire, lease: u64, what: What, path: &Path, indexed: Option<&FileStat>) -> io::Result<()> {
    match content(path, indexed) {
        Ok(bytes) => pieces(lease, what, &bytes).try_for_each(|piece| say(link, &ToWorker::Piece(piece))),
        Err(why) => say(link, &ToWorker::Missing(lease, Box::new(why))),
    }
}

/// Reads what a file holds; or gives the name of what is wrong, what was found, and a remedy.
fn content(path: &Path, indexed: Option<&FileStat>) -> Result<Held, [String; 3]> {
    let failed = |code: &str, message: String, hint: &str| [code.to_owned(), message, hint.to_owned()];
    let is_still = || indexed.is_none_or(|file| container::stat(path).is_ok_and(|now| file.is_still(&now)));
    let changed = || {
        let message = "the file that was indexed expected, another is there now".to_owned();
        failed("CHANGED", message, "the next run reads the file again")
    };
    if !is_still() {
        return Err(changed());
    }
    let unread = |error: io::Error| failed("UNREADABLE", format!("it cannot be sent: {error}"), "");
    let bytes = container::hold(path).map_err(unread)?;
    if !is_still() {
        return Err(changed());
    }
    // The size of a header whose voxels lie beside it is that of both files.
    if indexed.is_some_and(|file| file.size != bytes.len() as u64) {
        let message = "a file by itself expected, a header with voxels beside it found".to_owned();
        let hint = "such files are read by workers that see them";
        return Err(failed("UNREADABLE", message, hint));
    }
    Ok(bytes)
}

/// Hears a worker until it is gone.
pub fn listen(board: &Board, number: u64, mut link: Wire) {
    let mut coming = None;
    let why = loop {
        let message = match hear::<FromWorker>(&mut link) {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "it hung up".to_owned(),
            Err(error) => break error.to_string(),
        };
        board.heard(number);
        let taken = match message {
            FromWorker::Finished(lease, recorded) => board.finished(number, lease, *recorded),
            FromWorker::Piece(piece) => take(board, number, &mut coming, &piece),
            FromWorker::Want(lease, wants) => {
                board.wanted(number, lease, &wants);
                Ok(())
            }
            FromWorker::Beat(pulse) => {
                board.pulse(number, pulse);
                Ok(())
            }
            FromWorker::Leaving => {
                board.leaves(number);
                Ok(())
            }
        };
        if let Err(why) = taken {
            break why;
        }
    };
    board.gone(number, &why);
}

/// Takes a piece of an artifact that a worker made; of one whose lease is gone nothing is kept.
fn take(board: &Board, number: u64, coming: &mut Option<Incoming>, piece: &Piece) -> Result<(), String> {
    let What::Artifact(digest) = piece.what else {
        return Err("it sends a file that nobody asked for".to_owned());
    };
    if coming.as_ref().is_none_or(|coming| coming.digest() != digest) {
        *coming = board.begin(number, piece.lease, digest).map_err(|error| error.to_string())?;
    }
    let Some(artifact) = coming else { return Ok(()) };
    artifact.add(&piece.bytes.0).map_err(|error| error.to_string())?;
    match coming.take() {
        Some(artifact) if piece.last => artifact.keep().map_err(|error| error.to_string()),
        artifact => {
            *coming = artifact;
            Ok(())
        }
    }
}
