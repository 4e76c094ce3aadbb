//! What `where` asks of a tag's value: patterns, ranges of numbers, and either of them negated.

use globset::{GlobBuilder, GlobMatcher};

/// What a value is compared with.
#[derive(Clone, Debug)]
enum Pattern {
    /// `*` and `?` as in file names, over a whole text.
    Text(GlobMatcher),
    /// Numbers from the first to the second, both included.
    Range(f64, f64),
}

/// What is asked of one tag: one of the patterns, if there are any, and none of those that begin with `!`.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    wanted: Vec<Pattern>,
    unwanted: Vec<Pattern>,
}

impl Patterns {
    /// Reads patterns as a pipeline file has them.
    ///
    /// # Errors
    /// What is wrong with one, in words.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut patterns = Self::default();
        for text in texts {
            match text.strip_prefix('!') {
                Some(rest) => patterns.unwanted.push(Pattern::parse(rest)?),
                None => patterns.wanted.push(Pattern::parse(text)?),
            }
        }
        Ok(patterns)
    }

    /// Whether a tag's text fits: as a whole, or any of its values. An absent tag is empty text.
    pub fn fit(&self, text: &str) -> bool {
        let fits =
            |pattern: &Pattern| pattern.fits(text) || text.split('\\').any(|value| pattern.fits(value));
        (self.wanted.is_empty() || self.wanted.iter().any(fits)) && !self.unwanted.iter().any(fits)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some((low, high)) = text.split_once("..")
            && let (Some(low), Some(high)) = (bound(low, f64::NEG_INFINITY), bound(high, f64::INFINITY))
            && text.trim() != ".."
        {
            if low > high {
                return Err(format!("`{text}` is an empty range: the first number is the greater one"));
            }
            return Ok(Self::Range(low, high));
        }
        glob(text).map(Self::Text)
    }

    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Text(glob) => glob.is_match(value),
            Self::Range(low, high) => {
                value.trim().parse::<f64>().is_ok_and(|number| (*low..=*high).contains(&number))
            }
        }
    }
}

/// Reads one end of a range; an empty one is open.
fn bound(text: &str, open: f64) -> Option<f64> {
    let text = text.trim();
    if text.is_empty() { Some(open) } else { text.parse().ok().filter(|number: &f64| number.is_finite()) }
}

/// A pattern over a whole text, upper and lower case alike.
///
/// # Errors
/// What is wrong with it, in words.
pub fn glob(text: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(text)
        .case_insensitive(true)
        .literal_separator(false)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("`{text}` is not a pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(patterns: &[&str], text: &str) -> bool {
        Patterns::parse(patterns.iter().copied()).unwrap().fit(text)
    }

    #[test]
    fn one_of_several_fits_whatever_the_case() {
        assert!(fit(&["*T2*"], "ax t2_space") && !fit(&["*T2*"], "ax t1"));
        assert!(fit(&["MR", "CT"], "CT") && !fit(&["MR", "CT"], "PT"));
        assert!(fit(&[""], "") && !fit(&["*?*"], ""));
    }

    #[test]
    fn what_is_negated_must_not_fit() {
        assert!(fit(&["!*SCOUT*"], "ax t2") && !fit(&["!*SCOUT*"], "scout 3"));
        assert!(fit(&["!PT"], ""), "an absent tag is empty text");
        assert!(fit(&["*t2*", "!*fs*"], "t2 tra") && !fit(&["*t2*", "!*fs*"], "t2 fs tra"));
        assert!(!fit(&["*t2*", "!*fs*"], "t1 tra"));
    }

    #[test]
    fn ranges_are_of_numbers_and_hold_their_ends() {
        assert!(fit(&["0.5..1.5"], "1.5") && fit(&["0.5..1.5"], " 0.50 ") && !fit(&["0.5..1.5"], "1.51"));
        assert!(fit(&["..3"], "-7") && fit(&["3.."], "3e2") && !fit(&["3.."], "2"));
        assert!(fit(&["20190101..20191231"], "20190704") && !fit(&["20190101..20191231"], "20200101"));
        assert!(!fit(&["..3"], "") && !fit(&["..3"], "thin") && fit(&["!..3"], "thin"));
        assert!(Patterns::parse(["3..1"]).is_err());
        // A text with two dots is not a range of numbers.
        assert!(fit(&["a..b"], "A..B") && fit(&[".."], ".."));
    }

    #[test]
    fn any_of_several_values_fits() {
        let text = "ORIGINAL\\PRIMARY\\M_FFE";
        assert!(
            fit(&["PRIMARY"], text) && fit(&["ORIGINAL\\\\PRIMARY*"], text) && !fit(&["SECONDARY"], text)
        );
        assert!(!fit(&["!primary"], text) && fit(&["..2"], "7\\1.5"));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        assert!(Patterns::parse(["["]).unwrap_err().contains("`[`"));
        assert!(Patterns::parse(["![a"]).is_err());
    }
}
