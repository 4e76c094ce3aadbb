//! Colour for people at a terminal: what went wrong is seen at once.

use std::io::IsTerminal;

/// Red and bold.
const ERROR: &str = "\x1b[1;31m";
/// Yellow and bold.
const WARNING: &str = "\x1b[1;33m";
/// Cyan.
const HINT: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// The words at the beginning of a line that are coloured; of a whole line only where `true`.
const WORDS: [(&str, &str, bool); 5] = [
    ("error:", ERROR, false),
    ("warning:", WARNING, false),
    ("hint:", HINT, false),
    ("  rejected ", WARNING, true),
    ("  told ", HINT, true),
];

/// Whether a stream is coloured: it is a terminal that can, and nobody has set `NO_COLOR` (<https://no-color.org>).
pub fn wanted(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

/// A text with its words coloured, line by line.
pub fn coloured(text: &str) -> String {
    let paint = |line: &str| {
        let found = WORDS.iter().find(|(word, ..)| line.starts_with(word));
        let Some((word, colour, whole)) = found else { return line.to_owned() };
        let end = if *whole { line.trim_end_matches('\n').len() } else { word.len() };
        let (first, rest) = line.split_at(end);
        format!("{colour}{first}{PLAIN}{rest}")
    };
    text.split_inclusive('\n').map(paint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_at_the_beginning_of_lines_are_coloured() {
        let text = "error: no error: here\n  --> a:1\nhint: look\n  rejected MISSING_SLICE: 3\n2 cases\n";
        assert_eq!(
            coloured(text),
            "\x1b[1;31merror:\x1b[0m no error: here\n  --> a:1\n\x1b[36mhint:\x1b[0m look\n\
             \x1b[1;33m  rejected MISSING_SLICE: 3\x1b[0m\n2 cases\n"
        );
        assert_eq!(coloured("error:"), "\x1b[1;31merror:\x1b[0m");
        assert_eq!(coloured(""), "");
    }

    #[test]
    fn what_is_no_terminal_stays_plain() {
        assert!(!wanted(&std::fs::File::open("Cargo.toml").unwrap()));
    }
}
