//! Paths as a terminal and a log may show them.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

/// A path for people: what would move the cursor, forge a line or turn the direction of writing is shown as an escape.
pub trait Shown {
    /// The path, on one line, in characters that show themselves.
    fn shown(&self) -> impl Display;
}

impl Shown for Path {
    fn shown(&self) -> impl Display {
        Escaped(self)
    }
}

struct Escaped<'a>(&'a Path);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.to_string_lossy().chars() {
            match acts(letter) {
                true => Display::fmt(&letter.escape_default(), f)?,
                false => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Whether a character acts on what shows it: a control character, a mark, embedding, override or isolate of direction,
/// a separator of lines.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of whole lines in which no other character acts on a terminal.
pub fn visible(text: String) -> String {
    let hidden = |letter: char| acts(letter) && !matches!(letter, '\n' | '\t');
    if !text.contains(hidden) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match hidden(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_line() {
        let shown = |name: &str| Path::new(name).shown().to_string();
        assert_eq!(shown("/a/\u{e4} b'\"\\.dcm"), "/a/\u{e4} b'\"\\.dcm");
        assert_eq!(shown("a\n ERROR all gone\r"), "a\\n ERROR all gone\\r");
        assert_eq!(shown("\u{1b}[2J\u{7f}\u{9b}"), "\\u{1b}[2J\\u{7f}\\u{9b}");
        assert_eq!(shown("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(visible("two\nlines\t\u{1b}]0;x\u{7}".to_owned()), "two\nlines\t\\u{1b}]0;x\\u{7}");
    }
}
