//! `--set KEY=VALUE`: values that take the place of those in the file, or are added to it.

use super::problem::{Found, Span};
use super::suggest::remedy;
use super::syntax;
use super::tree::{Key, Node, Origin, Table, Value};
use crate::operators::spec::Section;

/// All options as one text, one a line: the source that their problems show.
pub(super) fn text(options: &[String]) -> String {
    options.iter().map(|option| option.replace(['\n', '\r'], " ")).collect::<Vec<_>>().join("\n")
}

/// Sets every option in the tree; `text` is [`text`] of them, `source` its number.
pub(super) fn apply(root: &mut Table, text: &str, source: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut offset = 0;
    for option in text.split('\n').filter(|_| !text.is_empty()) {
        let whole = Span::new(source, offset, offset + option.len());
        let (tree, problems) = syntax::read(option, source, offset);
        if let Some((path, node)) = bare(option, source, offset).filter(|_| !problems.is_empty()) {
            found.extend(set(root, &path, node));
        } else if problems.is_empty() {
            match assignment(tree) {
                Some((path, node)) => found.extend(set(root, &path, node)),
                None => {
                    let problem = Found::new(whole, "an option sets one key").label("KEY=VALUE expected");
                    found.push(problem.hint("for example `--set operators.net.epochs=3`"));
                }
            }
        } else {
            found.extend(problems.into_iter().map(|problem| match problem.message.as_str() {
                "text needs quotes" => problem.hint("the shell takes quotes away: `--set 'KEY=\"text\"'`"),
                _ => problem,
            }));
        }
        offset += option.len() + 1;
    }
    found
}

/// The key and the value of an option whose value is a word without quotes, which the shell took away.
fn bare(option: &str, source: usize, offset: usize) -> Option<(Vec<Key>, Node)> {
    let (key, value) = option.split_once('=')?;
    let word = value.trim();
    // What looks like another value was meant as one.
    if word.is_empty() || word.contains(['"', '\'', '[', ']', '{', '}', '=', '#', ',', '\\']) {
        return None;
    }
    let (tree, problems) = syntax::read(&format!("{key}=\"{word}\""), source, offset);
    let (path, node) = assignment(tree).filter(|_| problems.is_empty())?;
    let start = offset + option.len() - value.trim_start().len();
    Some((path, Node { span: Span::new(source, start, start + word.len()), ..node }))
}

/// The one key and value of an option.
fn assignment(tree: Table) -> Option<(Vec<Key>, Node)> {
    let mut path = Vec::new();
    let mut table = tree;
    loop {
        let mut entries = table.entries.into_iter();
        let (Some((key, node)), None) = (entries.next(), entries.next()) else { return None };
        path.push(key);
        match node.value {
            Value::Table(inner) if inner.origin == Origin::Dotted => table = inner,
            Value::Table(inner) if inner.origin != Origin::Inline => return None,
            value => return Some((path, Node { value, span: node.span })),
        }
    }
}

/// Puts a value where a path leads; tables that are not there are made, and what is none gives way.
pub(super) fn put(table: &mut Table, path: &[Key], node: Node) {
    let Some((key, rest)) = path.split_first() else { return };
    let place = table.entries.iter().position(|(known, _)| known.name == key.name).unwrap_or_else(|| {
        let value = Value::Table(Table::new(Origin::Dotted));
        table.entries.push((key.clone(), Node { value, span: key.span }));
        table.entries.len() - 1
    });
    let (known, inner) = &mut table.entries[place];
    if rest.is_empty() {
        (*known, *inner) = (key.clone(), node);
        return;
    }
    if !matches!(inner.value, Value::Table(_)) {
        *inner = Node { value: Value::Table(Table::new(Origin::Dotted)), span: key.span };
    }
    if let Value::Table(inner) = &mut inner.value {
        put(inner, rest, node);
    }
}

fn set(root: &mut Table, path: &[Key], node: Node) -> Option<Found> {
    let (last, parents) = path.split_last()?;
    let mut table = root;
    for (depth, key) in parents.iter().enumerate() {
        let in_stages = parents
            .first()
            .is_some_and(|first| Section::ALL.iter().any(|section| section.name() == first.name));
        if depth == 1 && in_stages && table.get(&key.name).is_none() {
            let names: Vec<_> = table.entries.iter().map(|(key, _)| key.name.as_str()).collect();
            let found =
                Found::new(key.span, format!("there is no stage `{}` under `{}`", key.name, parents[0].name));
            let hint = remedy(
                &key.name,
                names.iter().copied(),
                "an option changes the stages of the file, it adds none",
            );
            return Some(found.label("unknown stage").hint(hint));
        }
        if table.get(&key.name).is_none() {
            let value = Value::Table(Table::new(Origin::Dotted));
            table.entries.push((key.clone(), Node { value, span: key.span }));
        }
        match table.get_mut(&key.name).map(|(_, node)| &mut node.value) {
            Some(Value::Table(inner)) => table = inner,
            Some(Value::Broken) | None => return None,
            Some(other) => {
                let found =
                    Found::new(key.span, format!("`{}` is {}, which has no keys", key.name, other.noun()));
                return Some(found.label("not a table in the file").hint("set the whole value instead"));
            }
        }
    }
    put(table, std::slice::from_ref(last), node);
    None
}
