//! Members of a `.zip`, stored or deflated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use ::zip::ZipArchive;
use ::zip::result::ZipError;

use super::{At, Member, Members, below, damaged};

/// Deflate packs no tighter than this.
const MAX_RATIO: u64 = 1100;

pub(super) struct Zip {
    archive: ZipArchive<At>,
    members: BTreeMap<Vec<u8>, Member>,
}

impl Zip {
    pub(super) fn open(at: At) -> io::Result<Self> {
        let archive = ZipArchive::new(at).map_err(refused)?;
        let mut members = BTreeMap::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_data(index).map_err(refused)?;
            let Some(name) = below(entry.name_raw()).filter(|_| entry.is_file()) else { continue };
            let mark = u64::from(entry.crc32()) ^ entry.header_start().rotate_left(32);
            // Of two of one name the later one counts, as when it is unpacked.
            members.insert(name, Member { place: index as u64, size: entry.size(), mark });
        }
        Ok(Self { archive, members })
    }
}

impl Members for Zip {
    fn list(&self) -> &BTreeMap<Vec<u8>, Member> {
        &self.members
    }

    fn read(&self, _file: &Arc<File>, member: &Member) -> io::Result<Vec<u8>> {
        // Its own position in the file; the list of members is shared.
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
        let mut bytes = Vec::new();
        entry.by_ref().take(member.size.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != member.size {
            return Err(damaged(format!("{} bytes declared, {} found", member.size, bytes.len())));
        }
        Ok(bytes)
    }
}

fn refused(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => damaged(other.to_string()),
    }
}
