//! Reading of the members of a gzip file one after the other, and of what may follow them: padding to a
//! block, or anything else.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// The bytes that a member begins with.
pub(super) const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Unpacks member after member; bytes after the last that begin no member are passed over, as gzip itself does.
pub(super) struct Gzip<R> {
    member: Option<GzDecoder<Source<R>>>,
}

/// The bytes of a file, of which the first two may have been looked at before.
struct Source<R> {
    seen: [u8; 2],
    /// The number of those that are left.
    left: usize,
    reader: R,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(Source { seen: [0; 2], left: 0, reader })) }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let source = self.member.take().map(GzDecoder::into_inner);
            self.member = source.map(Source::next).transpose()?.flatten().map(GzDecoder::new);
        }
        Ok(0)
    }
}

impl<R: BufRead> Source<R> {
    /// The reader at the next member; none when no member follows.
    fn next(mut self) -> io::Result<Option<Self>> {
        let mut seen = [0; 2];
        match self.read_exact(&mut seen) {
            Ok(()) => Ok((seen == MAGIC).then_some(Self { seen, left: seen.len(), reader: self.reader })),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.seen.get(self.seen.len() - self.left..) {
            Some(seen) if self.left > 0 => Ok(seen),
            _ => self.reader.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        if self.left > 0 {
            self.left -= count.min(self.left);
        } else {
            self.reader.consume(count);
        }
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], capacity: usize) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        Gzip::new(BufReader::with_capacity(capacity, bytes)).read_to_end(&mut found)?;
        Ok(found)
    }

    #[test]
    fn members_follow_one_another_and_anything_may_follow_them() {
        let two = [member(b"one"), member(b""), member(b", two")].concat();
        for tail in [&b""[..], b"\0", &[0; 4096], b"text", &[0x1F], b"\x1F\0"] {
            // The capacities put every part of a file across the border of a buffer.
            for capacity in [1, 2, 3, 64] {
                assert_eq!(unpacked(&[&two[..], tail].concat(), capacity).unwrap(), b"one, two", "{tail:?}");
            }
        }
    }

    #[test]
    fn thousands_of_members_take_no_more_stack_than_one() {
        assert_eq!(unpacked(&member(b"x").repeat(20_000), 64).unwrap().len(), 20_000);
    }

    #[test]
    fn what_breaks_off_within_a_member_is_an_error() {
        let two = [member(b"one"), member(b", two")].concat();
        assert!(unpacked(&two[..two.len() - 9], 64).is_err());
        let mut wrong = member(b"one");
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        assert!(unpacked(&wrong, 64).is_err());
    }
}
