//! Headers made of lines of text, which MetaImage and NRRD begin with.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::stream::open;
use crate::Reject;

/// The length in bytes that no header exceeds.
const MAX_HEADER: u64 = 1 << 20;
/// The number of lines that no header exceeds.
const MAX_LINES: usize = 1 << 16;

/// The lines of a header up to the one where `last` is true (which is the last one given), and the
/// offset of what follows.
pub(crate) fn header_lines(
    path: &Path,
    mut last: impl FnMut(&str) -> bool,
) -> Result<(Vec<String>, u64), Reject> {
    let (file, _) = open(path)?;
    let mut reader = BufReader::new(file.take(MAX_HEADER));
    let (mut lines, mut offset) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| super::Stream::broken(&error))?;
        offset += read as u64;
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        let end = read == 0 || last(&text);
        if read > 0 {
            lines.push(text);
        }
        if lines.len() > MAX_LINES {
            return Err(super::bad_header(format!(
                "a header of at most {MAX_LINES} lines expected, more found"
            )));
        }
        if end {
            return Ok((lines, offset));
        }
    }
}

/// The numbers of a text, separated by white space; `None` when one is none.
pub(crate) fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}
