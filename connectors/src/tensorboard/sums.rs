//! Event files against the checksums that their records carry.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::{go_on, mask, masked};

/// The bytes of a record beside its content: its length, the length's checksum, the content's checksum.
const BESIDE: u64 = 16;

/// What of an event file is as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The size of the file in bytes.
    pub size: u64,
    /// Where records lie that hold their checksums, one after another.
    whole: Vec<Range<u64>>,
}

impl Sums {
    /// Whether a file is an event file by its name, as TensorBoard asks.
    pub fn are_in(path: &Path) -> bool {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("tfevents"))
    }

    /// Reads a file, piece by piece.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let (mut sums, mut at) = (Self { size, whole: Vec::new() }, 0);
        while let Some((end, whole)) = record(&mut reader, at, size)? {
            match sums.whole.last_mut().filter(|last| last.end == at) {
                Some(last) if whole => last.end = end,
                _ if whole => sums.whole.push(at..end),
                _ => {}
            }
            at = end;
        }
        Ok(sums)
    }

    /// How many bytes belong to no whole record.
    pub fn wrong(&self) -> u64 {
        let whole: u64 = self.whole.iter().map(|range| range.end - range.start).sum();
        self.size.saturating_sub(whole)
    }

    /// Leaves a file with its whole records alone, or removes it where there is none.
    ///
    /// # Errors
    /// When it cannot be written; it is then as it was.
    pub fn mend(&self, path: &Path) -> io::Result<()> {
        if self.whole.is_empty() {
            return fs::remove_file(path);
        }
        let beside = path.with_file_name(".figures.part");
        let written = self.copy(path, &beside).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            drop(fs::remove_file(&beside));
        }
        written
    }

    fn copy(&self, path: &Path, to: &Path) -> io::Result<()> {
        let (mut from, mut to) = (File::open(path)?, File::create(to)?);
        for range in &self.whole {
            from.seek(SeekFrom::Start(range.start))?;
            io::copy(&mut (&mut from).take(range.end - range.start), &mut to)?;
        }
        to.sync_all()
    }
}

/// Reads the record that begins at `at`: where it ends, and whether it holds its checksums. `None` where no further record
/// can be found: the file ends, or nobody can say how long this one is.
fn record(reader: &mut impl Read, at: u64, size: u64) -> io::Result<Option<(u64, bool)>> {
    if size - at < BESIDE {
        return Ok(None);
    }
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    reader.read_exact(&mut length)?;
    reader.read_exact(&mut sum)?;
    let bytes = u64::from_le_bytes(length);
    if masked(&length) != sum || bytes > size - at - BESIDE {
        return Ok(None);
    }
    let (mut crc, mut left, mut block) = (!0, bytes, [0; 8192]);
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let piece = &mut block[..count];
        reader.read_exact(piece)?;
        crc = go_on(crc, piece);
        left -= count as u64;
    }
    reader.read_exact(&mut sum)?;
    Ok(Some((at + BESIDE + bytes, mask(!crc) == sum)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    use super::super::EventFile;
    use super::*;

    fn written(folder: &Path) -> PathBuf {
        let mut file = EventFile::begin(folder, UNIX_EPOCH, 0).unwrap();
        (0..5).for_each(|step| file.scalar(UNIX_EPOCH, step, "train/loss", 0.5).unwrap());
        fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn every_turned_bit_is_found_and_what_is_whole_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        assert!(Sums::are_in(&path) && !Sums::are_in(Path::new("notes.txt")));
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Sums::of(&path).unwrap().wrong(), 0);
        for bit in 0..8 * bytes.len() {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, turned).unwrap();
            let sums = Sums::of(&path).unwrap();
            assert!(sums.wrong() > 0, "bit {bit}");
            sums.mend(&path).unwrap();
            // A file whose first length is wrong has no record that can be found.
            if path.exists() {
                let mended = Sums::of(&path).unwrap();
                assert_eq!((mended.wrong(), mended.size), (0, sums.size - sums.wrong()), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(Sums::of(&path).unwrap().wrong() > 0);
        // A record that says that it is larger than any file.
        let length = (u64::MAX - 3).to_le_bytes();
        fs::write(&path, [&bytes[..], &length, &masked(&length), &[0; 9]].concat()).unwrap();
        let sums = Sums::of(&path).unwrap();
        assert_eq!(sums.wrong(), 21);
        sums.mend(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        fs::write(&path, "").unwrap();
        assert_eq!(Sums::of(&path).unwrap().wrong(), 0);
    }
}
