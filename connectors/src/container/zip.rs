//! Members of a `.zip`, stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ::zip::ZipArchive;
use ::zip::result::ZipError;

use super::{At, Member, Members, Show, below, damaged, named, plausible, too_long};
use crate::dicom::{Few, LeftOut};

/// The most bytes that one packed byte unpacks to: deflate packs no tighter.
const MAX_RATIO: u64 = 1100;

/// The length of a member's own header in bytes, without its name.
const LOCAL: u64 = 30;
/// The fewest bytes that a member takes in the list of members.
const SHORTEST: u64 = 46;
/// The number of last bytes in which the end of that list is looked for: a comment of 64 KiB may follow it.
const TAIL: u64 = 160 << 10;

pub(super) struct Zip {
    archive: ZipArchive<At>,
    members: BTreeMap<Vec<u8>, Member>,
    left_out: LeftOut,
}

impl Zip {
    pub(super) fn open(at: At, path: &Path) -> io::Result<Self> {
        let length = at.length;
        let declared = declared(&at)?;
        let archive = ZipArchive::new(at).map_err(refused)?;
        let (mut members, mut places, mut all) = (BTreeMap::new(), Vec::new(), 0u64);
        let mut left_out = LeftOut::default();
        if archive.has_duplicate_names() {
            // The list of members does not say any more which of them share a name.
            let count = declared.saturating_sub(archive.len()).max(1);
            left_out.twice.extend(Few { count, first: vec![path.to_owned()] });
        }
        for index in 0..archive.len() {
            let entry = archive.by_index_data(index).map_err(refused)?;
            // The name and extra fields of the member's own header are left out: reading their lengths for
            // each member takes long on a network.
            let length = LOCAL.saturating_add(entry.compressed_size());
            places.push((entry.header_start(), entry.header_start().saturating_add(length)));
            all = all.saturating_add(entry.size());
            if !entry.is_file() {
                if entry.is_symlink() {
                    left_out.links.add(named(path, entry.name_raw()));
                }
                continue;
            }
            let Some(name) = below(entry.name_raw()) else {
                left_out.outside.add(named(path, entry.name_raw()));
                continue;
            };
            let mark = u64::from(entry.crc32()) ^ entry.header_start().rotate_left(32);
            // The later of two members of one name counts, as when the archive is unpacked.
            if members.insert(name, Member { place: index as u64, size: entry.size(), mark }).is_some() {
                left_out.twice.add(named(path, entry.name_raw()));
            }
        }
        apart(&mut places)?;
        plausible(length, all)?;
        Ok(Self { archive, members, left_out })
    }
}

/// Refuses an archive of more members than may be listed, before anybody makes room for as many as it declares; only one
/// of more than 65,535 can do harm, whose number stands in a record of its own. How many it declares, as far as that is
/// said where it mostly is.
fn declared(at: &At) -> io::Result<usize> {
    let start = at.length.saturating_sub(TAIL);
    let mut tail = vec![0; (at.length - start) as usize];
    at.file.read_exact_at(&mut tail, start)?;
    let number = |at: usize| tail.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let mut members = 0;
    for place in 0..tail.len() {
        match tail.get(place..place + 4) {
            Some(b"PK\x06\x06") if number(place + 32).is_some_and(|count| count > at.left() / SHORTEST) => {
                return Err(too_long());
            }
            Some(b"PK\x06\x07") if number(place + 8).is_some_and(|offset| offset < start) => {
                return Err(damaged(
                    "the end of a list of members expected at the archive's end, far from it found",
                ));
            }
            Some(b"PK\x05\x06") => {
                let count = tail.get(place + 10..place + 12).and_then(|bytes| bytes.first_chunk());
                members = count.map_or(0, |count| usize::from(u16::from_le_bytes(*count)));
            }
            _ => {}
        }
    }
    Ok(members)
}

/// Refuses members that lie in each other: a few bytes stand for as many members as somebody likes then.
fn apart(places: &mut [(u64, u64)]) -> io::Result<()> {
    places.sort_unstable();
    match places.windows(2).any(|two| matches!(two, [(_, end), (start, _)] if start < end)) {
        true => {
            Err(damaged("members that lie side by side expected, some lie in others: the archive is refused"))
        }
        false => Ok(()),
    }
}

impl Members for Zip {
    fn list(&self) -> &BTreeMap<Vec<u8>, Member> {
        &self.members
    }

    fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    fn stream(&self, _file: &Arc<File>, member: &Member, show: &mut Show<'_>) -> io::Result<()> {
        // The copy has a position of its own in the file; the list of members is shared.
        let mut archive = self.archive.clone();
        let mut entry = archive.by_index(member.place as usize).map_err(refused)?;
        let possible = entry.compressed_size().saturating_mul(MAX_RATIO);
        if entry.size() > possible {
            return Err(damaged(format!(
                "{} bytes packed cannot be the {} bytes that it declares",
                entry.compressed_size(),
                entry.size()
            )));
        }
        show(&mut entry)
    }
}

fn refused(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => damaged(other.to_string()),
    }
}
