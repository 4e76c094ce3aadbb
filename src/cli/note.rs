//! What a command says on standard error, to whoever still reads it.

use std::fmt;
use std::io::Write;

use super::colour;

/// Writes a line. That nobody reads it any more is no fault, and ends nothing: `eprintln!` would panic.
pub(super) fn note(line: fmt::Arguments<'_>) {
    let stream = std::io::stderr();
    let _ = if colour::wanted(&stream) {
        writeln!(stream.lock(), "{}", colour::coloured(&line.to_string()))
    } else {
        writeln!(stream.lock(), "{line}")
    };
}

/// Writes a line, as `eprintln!` does.
macro_rules! note {
    ($($words:tt)*) => {
        crate::cli::note::note(format_args!($($words)*))
    };
}
