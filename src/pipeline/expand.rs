//! `~`, `$NAME` and `${NAME}` in the paths of a pipeline file, as a shell has them.

/// Why a path could not be expanded: what was found, and a remedy.
pub(super) type Unexpanded = (String, String);

/// A path with the home folder and variables in their places. `$$` is a dollar sign, and so is a `$` before anything
/// that is no name.
pub(super) fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Unexpanded> {
    let mut expanded = String::new();
    let mut rest = text;
    if let Some(after) = text.strip_prefix('~') {
        if !(after.is_empty() || after.starts_with('/')) {
            let name = text.split('/').next().unwrap_or_default();
            let hint = format!("only `~` alone is a home folder; a folder of that name is `./{name}`");
            return Err((format!("`{name}` found"), hint));
        }
        expanded = value("HOME", "~", variable)?;
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some(braced) = after.strip_prefix('{') {
            let Some((name, after)) = braced.split_once('}') else {
                return Err((
                    "`${` without a `}` found".to_owned(),
                    "write `$$` for a dollar sign".to_owned(),
                ));
            };
            expanded.push_str(&value(name, &format!("${{{name}}}"), variable)?);
            after
        } else {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let (name, after) = after.split_at(after.find(|letter| !is_part(letter)).unwrap_or(after.len()));
            if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
                expanded.push('$');
                expanded.push_str(name);
            } else {
                expanded.push_str(&value(name, &format!("${name}"), variable)?);
            }
            after
        };
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value(name: &str, written: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Unexpanded> {
    variable(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let label = format!("`{written}` found, and the variable `{name}` is not set");
        (label, format!("set `{name}`, or write `$$` for a dollar sign and `./~` for a tilde"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Unexpanded> {
        expand(text, &|name| match name {
            "HOME" => Some("/home/ada".to_owned()),
            "SITE_2" => Some("north".to_owned()),
            "NONE" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn home_and_variables_stand_in_their_places() {
        for (text, path) in [
            ("~", "/home/ada"),
            ("~/a", "/home/ada/a"),
            ("./~/a", "./~/a"),
            ("a~", "a~"),
            ("$HOME/a", "/home/ada/a"),
            ("/x/${SITE_2}b/$SITE_2/c", "/x/northb/north/c"),
            ("a$$HOME", "a$HOME"),
            ("a$", "a$"),
            ("$/b$1x", "$/b$1x"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(path), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, named) in [
            ("$SITE/a", "`SITE`"),
            ("${SITE}", "`SITE`"),
            ("$NONE", "`NONE`"),
            ("${HOME", "`}`"),
            ("${}", "`${}`"),
            ("~ada/x", "`~ada`"),
        ] {
            let (label, hint) = expanded(text).unwrap_err();
            assert!(label.contains(named) && !hint.is_empty(), "{text}: {label}");
        }
    }
}
