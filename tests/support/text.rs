//! Changes of a pipeline's text that fail where it does not say what it is believed to say.

/// A replacement that cannot miss.
pub trait Rewrite {
    /// Replaces as `str::replace`; panics when there is nothing to replace.
    fn rewrite(&self, from: &str, to: &str) -> String;
}

impl Rewrite for str {
    #[track_caller]
    fn rewrite(&self, from: &str, to: &str) -> String {
        assert!(self.contains(from), "`{from}` is to be replaced, and is not in:\n{self}");
        self.replace(from, to)
    }
}
