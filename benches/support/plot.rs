//! Resident memory over time as a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::process::mib;

/// A line across the plot: bytes, colour, what it says.
pub struct Line<'a>(pub u64, pub &'a str, pub &'a str);

/// Time against memory, with lines to compare it with; `note` says what was done meanwhile.
pub fn memory(samples: &[(f64, u64)], seconds: f64, lines: &[Line<'_>], note: &str) -> String {
    let (width, height, left, bottom) = (760.0, 320.0, 60.0, 40.0);
    let highest = samples.iter().map(|(_, bytes)| *bytes).chain(lines.iter().map(|line| line.0)).max();
    let most = 1.15 * highest.unwrap_or(1).max(1) as f64;
    let x = |at: f64| left + (width - left - 20.0) * at / seconds.max(1e-3);
    let y = |bytes: u64| height - bottom - (height - bottom - 20.0) * bytes as f64 / most;
    // Of all that falls on one place, the highest.
    let mut highest_at: BTreeMap<u32, u64> = BTreeMap::new();
    for (at, bytes) in samples.iter().filter(|(_, bytes)| *bytes > 0) {
        let highest = highest_at.entry(x(*at) as u32).or_default();
        *highest = (*bytes).max(*highest);
    }
    let mut points = String::new();
    for (at, bytes) in highest_at {
        let _ = write!(points, "{at},{:.1} ", y(bytes));
    }
    let mut across = String::new();
    for Line(bytes, colour, text) in lines {
        let at = y(*bytes);
        let _ = write!(
            across,
            "<path d=\"M{left} {at:.1}H{}\" stroke=\"{colour}\" stroke-dasharray=\"6 4\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{text}: {:.0} MiB</text>\n",
            width - 20.0,
            width - 24.0,
            at - 5.0,
            mib(*bytes)
        );
    }
    let base = height - bottom;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"none\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <path d=\"M{left} 20V{base}H{}\" stroke=\"#555555\"/>\n{across}\
         <polyline points=\"{points}\" stroke=\"#1f6fb4\" stroke-width=\"1.2\"/>\n\
         <text x=\"{left}\" y=\"{}\" fill=\"#333333\">0 s</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#333333\">{seconds:.0} s, {note}</text>\n\
         <text x=\"{}\" y=\"{base}\" text-anchor=\"end\" fill=\"#333333\">0</text>\n\
         <text x=\"{}\" y=\"14\" fill=\"#333333\">resident memory</text>\n</svg>\n",
        width - 20.0,
        base + 18.0,
        width - 20.0,
        base + 18.0,
        left - 6.0,
        left + 6.0,
    )
}
