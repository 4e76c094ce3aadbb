//! What makes one syntax error one message: where a statement ends that was left open, and the parser's
//! errors in words of ours.

use toml_parser::lexer::{Token, TokenKind};
use toml_parser::{Expected, ParseError};

use super::problem::{Found, Span};
use super::suggest::listed;

/// Splits tokens where a list or inline table was evidently left open, so that the lines below it are
/// read for themselves: before a line that opens with `key =` or `[word`.
pub(super) fn statements<'t>(tokens: &'t [Token], text: &str) -> Vec<&'t [Token]> {
    let mut parts = Vec::new();
    let (mut start, mut open) = (0, Vec::new());
    let (mut previous, mut new_line) = (TokenKind::Newline, true);
    for (index, token) in tokens.iter().enumerate() {
        let blank = matches!(token.kind(), TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment);
        if new_line
            && !blank
            && !open.is_empty()
            && opens_statement(&tokens[index..], text, open.last(), previous)
        {
            parts.push(&tokens[start..index]);
            start = index;
            open.clear();
        }
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => open.push(token.kind()),
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => drop(open.pop()),
            _ => {}
        }
        if !blank {
            previous = token.kind();
        }
        new_line = token.kind() == TokenKind::Newline || (new_line && token.kind() == TokenKind::Whitespace);
    }
    parts.push(&tokens[start..]);
    parts
}

/// Whether these tokens, at the start of a line within an open bracket, can only be a new statement.
fn opens_statement(tokens: &[Token], text: &str, open: Option<&TokenKind>, previous: TokenKind) -> bool {
    let mut tokens = tokens.iter().filter(|token| token.kind() != TokenKind::Whitespace);
    let Some(first) = tokens.next() else { return false };
    let is_word = |token: &Token| {
        let word = text.get(token.span().start()..token.span().end()).unwrap_or_default();
        token.kind() == TokenKind::Atom
            && word.starts_with(|letter: char| letter.is_alphabetic())
            && !["true", "false", "inf", "nan"].contains(&word)
    };
    if first.kind() == TokenKind::LeftSquareBracket {
        return tokens.find(|token| token.kind() != TokenKind::LeftSquareBracket).is_some_and(is_word);
    }
    let mid_table = open == Some(&TokenKind::LeftCurlyBracket)
        && matches!(previous, TokenKind::Comma | TokenKind::LeftCurlyBracket);
    if mid_table || !is_word(first) {
        return false;
    }
    let part = |token: &&Token| matches!(token.kind(), TokenKind::Dot | TokenKind::Atom);
    tokens.find(|token| !part(token)).is_some_and(|token| token.kind() == TokenKind::Equals)
}

/// Quotes as word processors make them.
const TYPOGRAPHIC: [char; 17] =
    ['“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '‹', '›', '＂', '＇', '″', '′', '`'];

fn is_quote(letter: char) -> bool {
    TYPOGRAPHIC.contains(&letter) || letter == '"' || letter == '\''
}

/// Text without quotes, or in such that are none: what was probably meant, fit to stand between quotes. What
/// typographic quotes open goes on to the one that closes it.
fn unquoted(text: &str, start: usize, word: &str) -> String {
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let meant = match word.strip_prefix(TYPOGRAPHIC) {
        Some(_) => line
            .char_indices()
            .skip(1)
            .find(|(_, letter)| is_quote(*letter))
            .map_or(word, |(end, _)| &line[..end]),
        None => word,
    };
    meant.trim_matches(is_quote).replace(['"', '\\'], "")
}

/// A parser's error in words of ours.
pub(super) fn explain(error: &ParseError, text: &str, source: usize, offset: usize) -> Found {
    let span = |start: usize, end: usize| Span::new(source, offset + start, offset + end);
    let at = error.unexpected().or(error.context());
    let (start, end) = at.map_or((0, 0), |at| (at.start(), at.end()));
    let here = span(start, end);
    let whole = error.context().map_or(here, |context| span(context.start(), context.end()));
    let word = text.get(start..end).unwrap_or_default();
    match error.description() {
        "string values must be quoted" => Found::new(here, "text needs quotes")
            .label("not quoted")
            .hint(format!("write `\"{}\"`", unquoted(text, start, word))),
        "invalid boolean" => Found::new(here, "`true` and `false` are written in lower case"),
        "key with no value" => Found::new(here, "`=` expected after a key").label("`=` expected here"),
        "unexpected key or value" => Found::new(here, "a line ends after its value")
            .label("more found")
            .hint("a list is written `[…, …]`, and each key stands on a line of its own"),
        "unclosed array" => Found::new(whole, "a list is not closed").label("`]` is missing"),
        "unclosed inline table" => Found::new(whole, "a table is not closed").label("`}` is missing"),
        "unclosed table" | "unclosed array table" => {
            Found::new(whole, "a header is not closed").label("`]` is missing")
        }
        message if message.starts_with("invalid ") && message.ends_with(" string") => {
            let unclosed = Found::new(whole, "text is not closed").label("a quote is missing");
            let line =
                text.get(whole.start - offset..).and_then(|rest| rest.lines().next()).unwrap_or_default();
            match line.contains(TYPOGRAPHIC) {
                true => {
                    let meant = line.trim_matches(|letter| is_quote(letter) || letter == ' ');
                    unclosed.hint(format!("typographic quotes close no text: write `\"{meant}\"`"))
                }
                false => unclosed,
            }
        }
        message => Found::new(here, message).label(expectation(error)),
    }
}
/// `expected a, b`
fn expectation(error: &ParseError) -> String {
    let words: Vec<_> = error
        .expected()
        .unwrap_or_default()
        .iter()
        .map(|expected| match expected {
            Expected::Literal("\n") => "a new line".to_owned(),
            Expected::Literal(text) => format!("`{text}`"),
            Expected::Description(text) => (*text).to_owned(),
            _ => "something else".to_owned(),
        })
        .collect();
    if words.is_empty() { String::new() } else { format!("expected {}", listed(&words, "or")) }
}
