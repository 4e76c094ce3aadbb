//! A comparison as people read it: lines of text, and a section of the page.

use std::fmt;

use super::super::figures::words;
use super::super::html::{Text, count, figure, section, table};
use super::{Compared, Comparison, Paired, Standing};

impl Compared {
    /// Writes `dice, tumour`, with its unit where it has one.
    fn title(&self) -> String {
        let mut title = words(&self.metric);
        if !self.label.is_empty() {
            title = format!("{title}, {}", self.label);
        }
        if self.unit.is_empty() || self.unit == "1" { title } else { format!("{title} ({})", self.unit) }
    }
}

/// Writes mean and deviation: `0.812 ± 0.054`.
fn mean(standing: &Standing) -> String {
    let sd = standing.sd.map_or(String::new(), |sd| format!(" ± {}", figure(sd)));
    standing.mean.map_or("–".to_owned(), |mean| format!("{}{sd}", figure(mean)))
}

/// Writes `10`, or `5 of 10` where some have no figure.
fn cases(standing: &Standing) -> String {
    match standing.cases == standing.of {
        true => count(standing.cases),
        false => format!("{} of {}", count(standing.cases), count(standing.of)),
    }
}

/// Writes `5 empty prediction`: why cases are in no mean.
fn without(standing: &Standing) -> String {
    let each = standing.without.iter().map(|(why, n)| format!("{} {}", count(*n), words(why)));
    each.collect::<Vec<_>>().join(", ")
}

/// Writes a figure with its sign, always.
fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", figure(value)) } else { figure(value) }
}

/// Writes `+0.125 (+0.101 … +0.149)`.
fn difference(paired: &Paired) -> String {
    let [low, high] = paired.interval.map(signed);
    format!("{} ({low} … {high})", signed(paired.difference))
}

/// A probability; what is far below every limit is not written out.
fn probability(p: f64) -> String {
    match p {
        p if p < 0.0001 => "< 0.0001".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.3}"),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, compared) in self.figures.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let split = if self.split.is_empty() { String::new() } else { format!(", split {}", self.split) };
            writeln!(f, "{}{split}", compared.title())?;
            let against = format!("against {}", compared.against);
            let mut lines = vec![
                ["system", "n", "without a figure", "mean ± sd", &against, "p", "p (Holm)"]
                    .map(str::to_owned),
            ];
            lines.extend(compared.systems.iter().map(cells));
            let wide =
                |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            let widths: [usize; 7] = std::array::from_fn(wide);
            for [system, n, without, mean, against, p, holm] in &lines {
                let [a, b, w, c, d, e, _] = widths;
                let line = format!(
                    "  {system:<a$}  {n:>b$}  {without:<w$}  {mean:<c$}  {against:<d$}  {p:<e$}  {holm}"
                );
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

fn cells(standing: &Standing) -> [String; 7] {
    let paired = |of: &dyn Fn(&Paired) -> String| standing.paired.as_ref().map_or(String::new(), of);
    [
        standing.system.clone(),
        cases(standing),
        without(standing),
        mean(standing),
        paired(&difference),
        paired(&|paired| probability(paired.p)),
        paired(&|paired| probability(paired.p_holm)),
    ]
}

impl Comparison {
    /// The section of a page: a table for each figure.
    pub(in super::super) fn section(&self) -> String {
        let mut body = String::new();
        for compared in &self.figures {
            let against = format!("against {} (95 %)#", compared.against);
            let lines: Vec<Vec<String>> = compared
                .systems
                .iter()
                .map(|standing| cells(standing).iter().map(|cell| Text(cell).to_string()).collect())
                .collect();
            let headings = ["", "n#", "without a figure", "mean ± sd#", &against, "p#", "p, Holm#"];
            body.push_str(&format!("<h3>{}</h3>{}", Text(&compared.title()), table(&headings, &lines)));
        }
        section(
            "Comparison",
            "On the same cases: mean differences with the interval of 95 % of their resampled means, and Wilcoxon's \
             signed-rank test, by itself and held to one error over all systems. Cases without a figure are in no mean: \
             where the prediction is empty the system missed what is there.",
            &body,
        )
    }
}
