//! The segments of a JPEG stream, whatever its process: JPEG and JPEG-LS are written in the same frame.

/// One segment before the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    /// Its content, and all that follows it: a damaged length may be told by what it does not hold.
    pub(crate) from: &'a [u8],
    /// The bytes of its content, as declared.
    pub(crate) length: usize,
}

impl<'a> Segment<'a> {
    /// Its content, when the stream holds all of it.
    pub(crate) fn content(&self) -> Option<&'a [u8]> {
        self.from.get(..self.length)
    }

    /// What follows it; of the segment before a scan, the samples.
    pub(crate) fn after(&self) -> &'a [u8] {
        self.from.get(self.length..).unwrap_or_default()
    }
}

/// The segments that follow the marker at the stream's beginning, until it makes no sense. Nobody asks for
/// what follows the first scan's: samples are no segments.
pub(crate) fn segments(stream: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = stream.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        // Fill bytes before a marker.
        while let [0xFF, 0xFF, ..] = rest {
            rest = rest.get(1..)?;
        }
        let [0xFF, marker, from @ ..] = rest else { return None };
        let length = usize::from(word(from, 0)?).checked_sub(2)?;
        let segment = Segment { marker: *marker, from: from.get(2..)?, length };
        rest = segment.after();
        Some(segment)
    })
}

/// Two bytes, the greater first.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other_until_they_make_no_sense() {
        let stream = [0xFF, 0xD8, 0xFF, 0xDB, 0, 3, 7, 0xFF, 0xFF, 0xDA, 0, 4, 1, 2, 9, 9];
        let found: Vec<_> = segments(&stream).collect();
        let seen: Vec<_> = found.iter().map(|segment| (segment.marker, segment.content().unwrap())).collect();
        assert_eq!(seen, [(0xDB, &[7][..]), (0xDA, &[1, 2])]);
        assert_eq!(found[1].after(), [9, 9]);
        // Cut off: what is there can be looked at.
        let cut: Vec<_> = segments(&stream[..13]).collect();
        assert_eq!((cut.len(), cut[1].content(), cut[1].from, cut[1].after()), (2, None, &[1][..], &[][..]));
        for broken in [&[][..], &[0xFF], &[0xFF, 0xD8, 0], &[0xFF, 0xD8, 0xFF, 0xC0, 0, 1, 0]] {
            assert_eq!(segments(broken).count(), 0);
        }
    }
}
