//! The segments of a JPEG stream, whatever its process: JPEG and JPEG-LS are written in the same frame.

/// One segment before the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    /// The segment's content, and all that follows it: a damaged length may be told by what it does not hold.
    pub(crate) from: &'a [u8],
    /// The number of bytes of the segment's content, as declared.
    pub(crate) length: usize,
}

impl<'a> Segment<'a> {
    /// The segment's content, when the stream holds all of it.
    pub(crate) fn content(&self) -> Option<&'a [u8]> {
        self.from.get(..self.length)
    }

    /// The bytes that follow the segment; for the segment before a scan, these are the samples.
    pub(crate) fn after(&self) -> &'a [u8] {
        self.from.get(self.length..).unwrap_or_default()
    }
}

/// The segments that follow the marker at the stream's beginning, until it makes no sense. Nobody asks for
/// what follows the first scan's: samples are no segments.
pub(crate) fn segments(stream: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = stream.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        // Fill bytes may come before a marker.
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

/// A word of two bytes, the greater first.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

/// The next marker among coded samples: how many bytes lie before it, which it is, and what follows. A byte of ones
/// that a zero follows is none, and any number of such bytes may come before one.
pub(crate) fn next_marker(bytes: &[u8]) -> Option<(usize, u8, &[u8])> {
    let mut at = 0;
    while let Some(ones) = bytes.get(at..)?.iter().position(|&byte| byte == 0xFF) {
        let before = at + ones;
        let fill = bytes.get(before..)?.iter().position(|&byte| byte != 0xFF)?;
        at = before + fill;
        let &marker = bytes.get(at)?;
        if marker != 0 {
            return Some((before, marker, bytes.get(at + 1..)?));
        }
    }
    None
}

/// The bytes that follow the restart marker which must come next, behind an interval that ended like this;
/// samples that nobody asked for are damage.
pub(crate) fn behind_restart((unread, rest): (usize, &[u8]), number: usize) -> Result<&[u8], String> {
    let wanted = 0xD0 + (number % 8) as u8;
    match next_marker(rest) {
        Some((0, marker, after)) if marker == wanted && unread == 0 => Ok(after),
        Some((before, marker, _)) => {
            let before = before + unread;
            Err(format!("restart marker {number} expected, marker {marker:02X} behind {before} bytes found"))
        }
        None => Err(format!("restart marker {number} expected, none found")),
    }
}

/// Bits of coded samples, most significant first; a byte of ones is followed by a zero byte that does not count, and
/// anything else behind it is a marker, where the bits end.
pub(crate) struct Entropy<'a> {
    bytes: &'a [u8],
    /// The next bits, from the top, with zeros behind the last.
    held: u64,
    count: u32,
}

impl<'a> Entropy<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, held: 0, count: 0 }
    }

    /// The next 32 bits, with zeros where there are no more.
    #[inline]
    pub(crate) fn peek(&mut self) -> u32 {
        if self.count < 32 {
            self.fill();
        }
        (self.held >> 32) as u32
    }

    /// Takes up to 32 bits; `None` when there are fewer.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.held <<= count;
        Some(())
    }

    #[inline]
    fn fill(&mut self) {
        if let Some((&four, rest)) = self.bytes.split_first_chunk::<4>() {
            let bits = u32::from_be_bytes(four);
            // A byte of ones is a zero in the complement, which borrows from its top bit.
            if (!bits).wrapping_sub(0x0101_0101) & bits & 0x8080_8080 == 0 {
                self.held |= u64::from(bits) << (32 - self.count);
                (self.count, self.bytes) = (self.count + 32, rest);
                return;
            }
        }
        self.fill_slowly();
    }

    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let rest = match self.bytes {
                [0xFF, 0, rest @ ..] => rest,
                [] | [0xFF, ..] => return,
                [_, rest @ ..] => rest,
            };
            let byte = self.bytes.first().copied().unwrap_or_default();
            self.held |= u64::from(byte) << (56 - self.count);
            (self.count, self.bytes) = (self.count + 8, rest);
        }
    }

    /// The number of whole bytes that were held and not taken, and the bytes that follow them.
    pub(crate) fn end(self) -> (usize, &'a [u8]) {
        ((self.count / 8) as usize, self.bytes)
    }
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
        // A segment that is cut off can be looked at as far as it is there.
        let cut: Vec<_> = segments(&stream[..13]).collect();
        assert_eq!((cut.len(), cut[1].content(), cut[1].from, cut[1].after()), (2, None, &[1][..], &[][..]));
        for broken in [&[][..], &[0xFF], &[0xFF, 0xD8, 0], &[0xFF, 0xD8, 0xFF, 0xC0, 0, 1, 0]] {
            assert_eq!(segments(broken).count(), 0);
        }
    }
}
