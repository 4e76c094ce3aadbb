//! The few pieces that every part of the page is put together from.

use std::fmt::{self, Display, Write as _};

/// Text from outside as it may stand in HTML and SVG, in an attribute as well.
pub(super) struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Control and direction marks could reorder what is read.
                '\n' | '\t' => f.write_char(letter)?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                _ if letter.is_control() => f.write_char('\u{fffd}')?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A number as people write it: no trailing zeros, grouped thousands.
pub(super) fn number(value: f64) -> String {
    let text = figure(value);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A measured figure: four significant digits, zeros at the end included.
pub(super) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let digits = match value.abs() {
        0.0 => return "0".to_owned(),
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        v if v >= 0.001 => 3,
        _ => return format!("{value:.2e}").replace('-', "−"),
    };
    let text = format!("{value:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("−", rest));
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && whole.len() > 4 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

/// A count as people write it.
pub(super) fn count(value: usize) -> String {
    number(value as f64)
}

/// A length of time as people say it.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if !v.is_finite() || v < 0.0 => "–".to_owned(),
        v if v < 60.0 => format!("{} s", number((v * 10.0).round() / 10.0)),
        v if v < 3600.0 => format!("{:.0} min {:02.0} s", (v / 60.0).floor(), (v % 60.0).floor()),
        v => format!("{:.0} h {:02.0} min", (v / 3600.0).floor(), (v % 3600.0 / 60.0).floor()),
    }
}

/// A table: headings, of which those that end in `#` stand over numbers, and rows of finished HTML.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=scroll><table><thead><tr>");
    let numeric: Vec<bool> = headings.iter().map(|heading| heading.ends_with('#')).collect();
    let class = |column: usize| if numeric.get(column).copied().unwrap_or(false) { " class=n" } else { "" };
    for (column, heading) in headings.iter().enumerate() {
        let heading = heading.trim_end_matches('#');
        out.push_str(&format!("<th scope=col{}>{}</th>", class(column), Text(heading)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            out.push_str(&format!("<td{}>{cell}</td>", class(column)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// A section of the page.
pub(super) fn section(title: &str, lead: &str, body: &str) -> String {
    format!("<section><h2>{}</h2><p class=lead>{}</p>{body}</section>", Text(title), Text(lead))
}

/// The whole page; `kind` stands behind its title in a list of tabs.
pub(super) fn page(title: &str, kind: &str, lead: &str, main: &str, footer: &str) -> String {
    let made_from =
        if kind == "report" { "from the tables of the pipeline" } else { "from the files themselves" };
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; style-src \
         'unsafe-inline'\"><title>{title} · {kind}</title><style>{style}</style></head><body>\
         <header><h1>{title}</h1><p>{lead}</p></header><main>{main}</main><footer>tomoflow {version} made this \
         page {made_from}. It holds everything it shows: no network, no scripts.{footer}</footer></body></html>\n",
        title = Text(title),
        lead = Text(lead),
        style = include_str!("style.css"),
        version = env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        let cases = [
            (0.0, "0"),
            (0.81239, "0.812"),
            (12.0, "12"),
            (-3.5, "−3.5"),
            (1234.0, "1234"),
            (1_234_567.0, "1\u{202f}234\u{202f}567"),
            (0.000_012, "1.20e−5"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            [figure(0.84), figure(12.0), figure(-100.04)],
            ["0.840", "12.00", "−100.0"].map(str::to_owned)
        );
        assert_eq!(
            [seconds(7.04), seconds(187.0), seconds(7325.0)],
            ["7 s", "3 min 07 s", "2 h 02 min"].map(str::to_owned)
        );
    }

    #[test]
    fn text_cannot_leave_its_place() {
        let hostile = "<script>'\"&\u{202e}\u{0}";
        assert_eq!(Text(hostile).to_string(), "&lt;script&gt;&#39;&quot;&amp;\u{fffd}\u{fffd}");
    }
}
