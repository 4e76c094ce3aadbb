//! Text of pipelines, changed where it says what it is believed to say.

/// Replacing that cannot miss.
pub trait Rewrite {
    /// As `str::replace`; panics when there is nothing to replace.
    fn rewrite(&self, from: &str, to: &str) -> String;
}

impl Rewrite for str {
    #[track_caller]
    fn rewrite(&self, from: &str, to: &str) -> String {
        assert!(self.contains(from), "`{from}` is to be replaced, and is not in:\n{self}");
        self.replace(from, to)
    }
}
