//! What a command says on standard error, to whoever still reads it.

use std::fmt;
use std::io::Write;

/// Writes a line. That nobody reads it any more is no fault, and ends nothing: `eprintln!` would panic.
pub(super) fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes a line, as `eprintln!` does.
macro_rules! note {
    ($($words:tt)*) => {
        crate::cli::note::note(format_args!($($words)*))
    };
}
