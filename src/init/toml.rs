//! Values as a pipeline file has them.

/// A text in quotes.
pub fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in value.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A path: `$` and a leading `~` stand for themselves.
pub fn path(value: &str) -> String {
    let escaped = value.replace('$', "$$");
    text(&if escaped.starts_with('~') { format!("./{escaped}") } else { escaped })
}

/// A key, in quotes where it needs them.
pub fn key(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { text(name) }
}

/// A list of values.
pub fn list(values: impl IntoIterator<Item = impl ToString>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(", "))
}

/// A table in one line.
pub fn table<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> =
        entries.into_iter().map(|(name, value)| format!("{} = {value}", key(name))).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// A number with as many digits as matter.
pub fn number(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded == rounded.trunc() { format!("{rounded:.1}") } else { format!("{rounded}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_they_were_meant() {
        assert_eq!(text("say \"a\\b\"\t"), "\"say \\\"a\\\\b\\\"\\u0009\"");
        assert_eq!(path("~/$HOME/x"), "\"./~/$$HOME/x\"");
        assert_eq!(list([number(1.0), number(0.976_562_5), number(3.27)]), "[1.0, 0.9766, 3.27]");
        assert_eq!([key("left kidney"), key("a-b_1"), key("")], ["\"left kidney\"", "a-b_1", "\"\""]);
        assert_eq!(table([("liver", list([1])), ("a b", text("x"))]), "{ liver = [1], \"a b\" = \"x\" }");
    }
}
