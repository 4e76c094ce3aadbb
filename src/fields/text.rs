//! Texts put together while the program is compiled, so that what a table says of its rows is its documentation too.

/// The bytes of these texts together.
pub const fn length(texts: &[&str]) -> usize {
    let (mut length, mut place) = (0, 0);
    while place < texts.len() {
        length += texts[place].len();
        place += 1;
    }
    length
}

/// Joins these texts, one behind another, in so many bytes as [`length`] says.
pub const fn bytes<const LENGTH: usize>(texts: &[&str]) -> [u8; LENGTH] {
    let (mut all, mut end, mut place) = ([0; LENGTH], 0, 0);
    while place < texts.len() {
        let text = texts[place].as_bytes();
        let mut at = 0;
        while at < text.len() {
            all[end] = text[at];
            (end, at) = (end + 1, at + 1);
        }
        place += 1;
    }
    assert!(end == LENGTH, "the texts are as long as they were said to be");
    all
}

/// A constant list of texts as one text.
macro_rules! joined {
    ($texts:expr) => {{
        const TEXTS: &[&str] = $texts;
        const BYTES: &[u8] = &$crate::fields::text::bytes::<{ $crate::fields::text::length(TEXTS) }>(TEXTS);
        const TEXT: &str = match str::from_utf8(BYTES) {
            Ok(text) => text,
            Err(_) => panic!("texts are made of whole letters"),
        };
        TEXT
    }};
}
pub(crate) use joined;

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_one_text() {
        const PARTS: [&str; 4] = ["½", "", " mm", "."];
        const TEXT: &str = super::joined!(&PARTS);
        assert_eq!(TEXT, "½ mm.");
        assert_eq!(super::joined!(&[]), "");
    }
}
