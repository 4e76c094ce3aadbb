//! Which labels count where several refer to one scan.

use tomoflow_connectors::Reject;

use crate::executor::work::OutlinesRow;

/// Labels that are shown by name.
const NAMED: usize = 5;

/// Returns the labels of the newest date; where they carry none, all of them. The newest come first.
pub(super) fn newest<'o, 'a>(outlines: &'o [&'a OutlinesRow]) -> &'o [&'a OutlinesRow] {
    let Some(first) = outlines.first() else { return outlines };
    let date = |row: &&OutlinesRow| row.outlines.date_time == first.outlines.date_time;
    let count = outlines.iter().take_while(|row| date(row)).count();
    outlines.get(..count).unwrap_or(outlines)
}

/// The refusal of labels of which one is expected; `by_date` when the newest was asked for. They are named where
/// identifiers are shown.
pub(super) fn refused(several: &[&OutlinesRow], by_date: bool, clear: bool) -> Reject {
    let count = several.len();
    let mut message = match by_date {
        true => format!("one newest set of labels expected for a scan, {count} of the same date found"),
        false => format!("one structure set expected for a scan, {count} refer to it"),
    };
    if clear {
        let mut names: Vec<&str> = several.iter().map(|row| row.outlines.sop_uid.as_str()).collect();
        names.sort_unstable();
        let more = if count > NAMED { ", …" } else { "" };
        names.truncate(NAMED);
        message += &format!(": {}{more}", names.join(", "));
    }
    let hint = match by_date {
        true => "remove the outdated ones, or give them dates: label maps are dated by their files' times",
        false => "remove the outdated ones, or set `on_several = \"newest\"`",
    };
    Reject::new("SEVERAL_LABELS", message, hint)
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Digest;
    use tomoflow_connectors::rtstruct::Outlines;

    use super::*;

    fn row(name: &str, date: &str) -> OutlinesRow {
        let outlines = Outlines { sop_uid: name.into(), date_time: date.into(), ..Outlines::default() };
        OutlinesRow { record: Digest::of(name.as_bytes()), outlines }
    }

    #[test]
    fn the_newest_are_those_of_one_date() {
        let [a, b, c] = [row("a", "2"), row("b", "2"), row("c", "1")];
        assert_eq!(newest(&[&a, &b, &c]), [&a, &b]);
        assert_eq!(newest(&[&a, &c]), [&a]);
        assert!(newest(&[]).is_empty());
        let [a, b] = [row("a", ""), row("b", "")];
        assert_eq!(newest(&[&a, &b]).len(), 2);
    }

    #[test]
    fn they_are_named_where_names_are_shown() {
        let [a, b] = [row("b.nii", "2"), row("a.nii", "2")];
        let message = |clear| refused(&[&a, &b], true, clear).message;
        assert!(message(true).ends_with("found: a.nii, b.nii") && message(false).ends_with("found"));
        assert!(refused(&[&a, &b], false, false).hint.contains("newest"));
    }
}
