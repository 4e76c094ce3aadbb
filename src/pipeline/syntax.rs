//! TOML to a tree, with recovery: every syntax error is found, and what could be read is kept.

use std::borrow::Cow;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ParseError, Source};

use super::problem::{Found, Lines, Span};
use super::recover::{explain, statements};
use super::tree::{Key, Node, Origin, Table, Value};

/// Lists and inline tables within each other.
const MAX_DEPTH: u32 = 24;
/// Parts of a dotted key.
const MAX_PARTS: usize = 16;

/// Reads a text that starts at `offset` of the source `source`.
pub(super) fn read(text: &str, source: usize, offset: usize) -> (Table, Vec<Found>) {
    let toml = Source::new(text);
    let tokens = toml.lex().into_vec();
    let mut events = Vec::new();
    let mut errors: Vec<ParseError> = Vec::new();
    for tokens in statements(&tokens, text) {
        let mut push = |event: Event| events.push(event);
        let mut whitespace = ValidateWhitespace::new(&mut push, toml);
        let mut guard = RecursionGuard::new(&mut whitespace, MAX_DEPTH);
        parse_document(tokens, &mut guard, &mut errors);
    }
    events.retain(|event| {
        !matches!(
            event.kind(),
            EventKind::Whitespace | EventKind::Comment | EventKind::Newline | EventKind::Error
        )
    });
    let mut reader =
        Reader { toml, source, offset, events, next: 0, errors, found: Vec::new(), lines: Lines::new(text) };
    let mut table = reader.document();
    // What followed a text that was never closed is lost, headers as well.
    table.damaged |= reader.errors.iter().any(|error| error.description().starts_with("invalid multi-line"));
    let found = reader.finish(text);
    (table, found)
}

/// Reads events into a tree.
struct Reader<'t> {
    toml: Source<'t>,
    source: usize,
    offset: usize,
    events: Vec<Event>,
    next: usize,
    errors: Vec<ParseError>,
    found: Vec<Found>,
    lines: Lines,
}

impl<'t> Reader<'t> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, self.offset + start, self.offset + end)
    }

    fn event_span(&self, event: &Event) -> Span {
        self.span(event.span().start(), event.span().end())
    }

    fn peek(&self) -> Option<EventKind> {
        self.events.get(self.next).map(Event::kind)
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.events.get(self.next).copied();
        self.next += 1;
        event
    }

    fn take_if(&mut self, kind: EventKind) -> Option<Event> {
        if self.peek() == Some(kind) { self.take() } else { None }
    }

    fn document(&mut self) -> Table {
        let mut root = Table::new(Origin::Header);
        // A table that stands twice goes nowhere: its second half is read, but not checked.
        let mut aside = Table::new(Origin::Header);
        let mut header: Option<Vec<Key>> = Some(Vec::new());
        while let Some(event) = self.take() {
            match event.kind() {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    aside = Table::new(Origin::Header);
                    let keys = self.keys();
                    let many = event.kind() == EventKind::ArrayTableOpen;
                    let close = if many { EventKind::ArrayTableClose } else { EventKind::StdTableClose };
                    let open = self.event_span(&event);
                    let end = self.take_if(close).map(|close| self.event_span(&close).end);
                    root.damaged |= end.is_none();
                    let end = end.or(keys.last().map(|key| key.span.end)).unwrap_or(open.end);
                    let span = Span { end, ..open };
                    header = self.open_table(&mut root, &keys, span, many).then_some(keys);
                }
                EventKind::SimpleKey => {
                    self.next -= 1;
                    let (keys, node) = self.assignment();
                    let table = match &header {
                        Some(path) => self.descend(&mut root, path, Origin::Header),
                        None => Some(&mut aside),
                    };
                    if let Some(table) = table {
                        self.insert(table, &keys, node);
                    }
                }
                _ => {}
            }
        }
        root
    }

    /// `a.b.c`
    fn keys(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Some(event) = self.take_if(EventKind::SimpleKey) {
            keys.push(self.key(&event));
            if self.take_if(EventKind::KeySep).is_none() {
                break;
            }
        }
        keys
    }

    fn key(&mut self, event: &Event) -> Key {
        let span = self.event_span(event);
        let mut name = Cow::Borrowed("");
        if event.span().is_empty() {
            self.found.push(Found::new(span, "a key is missing").label("expected here"));
        } else if let Some(raw) = self.toml.get(event) {
            raw.decode_key(&mut name, &mut self.errors);
        }
        Key { name: name.into_owned(), span }
    }

    /// `a.b = value`
    fn assignment(&mut self) -> (Vec<Key>, Node) {
        let keys = self.keys();
        let after = keys.last().map_or(self.span(0, 0), |key| Span { start: key.span.end, ..key.span });
        let node = match self.take_if(EventKind::KeyValSep) {
            Some(equals) => {
                let equals = self.event_span(&equals);
                self.value().unwrap_or(Node { value: Value::Broken, span: equals })
            }
            None => Node { value: Value::Broken, span: after },
        };
        (keys, node)
    }

    /// A value, when one is next.
    fn value(&mut self) -> Option<Node> {
        match self.peek()? {
            EventKind::Scalar => {
                let event = self.take()?;
                Some(self.scalar(&event))
            }
            EventKind::ArrayOpen => {
                let open = self.take()?;
                Some(self.list(&open))
            }
            EventKind::InlineTableOpen => {
                let open = self.take()?;
                Some(self.inline_table(&open))
            }
            _ => None,
        }
    }

    fn list(&mut self, open: &Event) -> Node {
        let mut span = self.event_span(open);
        let mut items = Vec::new();
        loop {
            match self.peek() {
                Some(EventKind::ArrayClose) | None => {
                    if let Some(close) = self.take() {
                        span.end = self.event_span(&close).end;
                    }
                    return Node { value: Value::List(items), span };
                }
                Some(_) => match self.value() {
                    Some(item) => items.push(item),
                    None => self.next += 1,
                },
            }
        }
    }

    fn inline_table(&mut self, open: &Event) -> Node {
        let mut span = self.event_span(open);
        let mut table = Table::new(Origin::Inline);
        loop {
            match self.peek() {
                Some(EventKind::InlineTableClose) | None => {
                    if let Some(close) = self.take() {
                        span.end = self.event_span(&close).end;
                    }
                    return Node { value: Value::Table(table), span };
                }
                Some(EventKind::SimpleKey) => {
                    let (keys, node) = self.assignment();
                    self.insert(&mut table, &keys, node);
                }
                Some(_) => self.next += 1,
            }
        }
    }

    fn scalar(&mut self, event: &Event) -> Node {
        let span = self.event_span(event);
        let value = if event.span().is_empty() {
            self.found.push(Found::new(span, "a value is missing").label("expected here"));
            Value::Broken
        } else {
            self.decode(event)
        };
        Node { value, span }
    }

    fn decode(&mut self, event: &Event) -> Value {
        let Some(raw) = self.toml.get(event) else { return Value::Broken };
        let before = self.errors.len();
        let mut text = Cow::Borrowed("");
        let kind = raw.decode_scalar(&mut text, &mut self.errors);
        let sound = self.errors.len() == before;
        match kind {
            // A word without quotes is still taken for the text it was meant to be.
            ScalarKind::String if sound || !text.contains(' ') => Value::Text(text.into_owned()),
            ScalarKind::Boolean(value) => Value::Bool(value),
            _ if !sound => Value::Broken,
            ScalarKind::DateTime => Value::Time,
            ScalarKind::Float => text.parse().map_or(Value::Broken, Value::Float),
            ScalarKind::Integer(radix) => match i64::from_str_radix(&text, radix.value()) {
                Ok(value) => Value::Integer(value),
                Err(_) => {
                    let span = self.event_span(event);
                    let message = "a whole number is too large";
                    self.found.push(Found::new(span, message).label("beyond 64 bits"));
                    Value::Broken
                }
            },
            ScalarKind::String => Value::Broken,
        }
    }

    /// Makes the table of a header; false when its keys belong nowhere.
    fn open_table(&mut self, root: &mut Table, keys: &[Key], span: Span, many: bool) -> bool {
        let Some((last, path)) = keys.split_last() else {
            root.damaged = true;
            return false;
        };
        let Some(parent) = self.descend(root, path, Origin::Implicit) else { return false };
        let fresh = Node { value: Value::Table(Table::new(Origin::Header)), span };
        let Some((first, node)) = parent.get_mut(&last.name) else {
            let node = if many { Node { value: Value::List(vec![fresh]), span } } else { fresh };
            parent.entries.push((last.clone(), node));
            return true;
        };
        match &mut node.value {
            Value::Table(table) if table.origin == Origin::Implicit && !many => {
                table.origin = Origin::Header;
                node.span = span;
                *first = last.clone();
                true
            }
            Value::List(tables) if many && node.span.start < span.start => {
                tables.push(fresh);
                true
            }
            _ => {
                let name = keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(".");
                self.twice(&name, first.span, span);
                if let Some(found) = self.found.last_mut() {
                    found.hint = "a name stands once: rename one, or join the two".to_owned();
                }
                false
            }
        }
    }

    fn insert(&mut self, table: &mut Table, keys: &[Key], node: Node) {
        let Some((last, path)) = keys.split_last() else { return };
        let Some(table) = self.descend(table, path, Origin::Dotted) else { return };
        if let Some((first, _)) = table.get(&last.name) {
            self.twice(&last.name, first.span, last.span);
        } else {
            table.damaged |= matches!(node.value, Value::Broken);
            table.entries.push((last.clone(), node));
        }
    }

    /// The table at a path, made on the way where absent.
    fn descend<'a>(&mut self, table: &'a mut Table, path: &[Key], origin: Origin) -> Option<&'a mut Table> {
        let mut table = table;
        if let Some(key) = path.get(MAX_PARTS) {
            self.found.push(Found::new(key.span, format!("a key has at most {MAX_PARTS} parts")));
            return None;
        }
        for key in path {
            if table.get(&key.name).is_none() {
                let value = Value::Table(Table::new(origin));
                table.entries.push((key.clone(), Node { value, span: key.span }));
            }
            let (first, node) = table.get_mut(&key.name)?;
            let first = first.span;
            table = match &mut node.value {
                Value::Table(inner) if inner.origin != Origin::Inline => inner,
                Value::List(tables) => match tables.last_mut().map(|node| &mut node.value) {
                    Some(Value::Table(inner)) if inner.origin == Origin::Header => inner,
                    _ => {
                        self.twice(&key.name, first, key.span);
                        return None;
                    }
                },
                Value::Broken => return None,
                _ => {
                    self.twice(&key.name, first, key.span);
                    return None;
                }
            };
        }
        Some(table)
    }

    fn twice(&mut self, name: &str, first: Span, second: Span) {
        let label = format!("first set on line {}", self.line(first));
        self.found.push(Found::new(second, format!("`{name}` is set twice")).label(label));
    }

    fn line(&self, span: Span) -> usize {
        self.lines.line(span.start - self.offset)
    }

    /// What was found, one problem a line: the first is the cause of the others.
    fn finish(mut self, text: &str) -> Vec<Found> {
        for error in std::mem::take(&mut self.errors) {
            let found = explain(&error, text, self.source, self.offset);
            self.found.push(found);
        }
        self.found.sort_by_key(|found| found.span);
        let mut lines = std::collections::BTreeSet::new();
        let found = std::mem::take(&mut self.found);
        found.into_iter().filter(|found| lines.insert(self.line(found.span))).collect()
    }
}
