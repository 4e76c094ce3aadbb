//! Members of a `.tar`: their bytes lie in it as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::{At, Member, Members, Show, below, damaged};

pub(super) struct Tar {
    members: BTreeMap<Vec<u8>, Member>,
}

impl Tar {
    pub(super) fn open(at: At) -> io::Result<Self> {
        let length = at.length;
        let mut archive = ::tar::Archive::new(at);
        let mut members = BTreeMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            // A sparse file's bytes do not lie there as they are.
            if !entry.header().entry_type().is_file() || entry.header().entry_type().is_gnu_sparse() {
                continue;
            }
            let Some(name) = below(&entry.path_bytes()) else { continue };
            let (place, size) = (entry.raw_file_position(), entry.size());
            if place.checked_add(size).is_none_or(|end| end > length) {
                return Err(damaged(format!("a member of {size} bytes ends after the file")));
            }
            members.insert(name, Member { place, size, mark: place.rotate_left(32) });
        }
        Ok(Self { members })
    }
}

impl Members for Tar {
    fn list(&self) -> &BTreeMap<Vec<u8>, Member> {
        &self.members
    }

    fn stream(&self, file: &Arc<File>, member: &Member, show: &mut Show<'_>) -> io::Result<()> {
        // Checked against the container's length when it was listed.
        let mut at = At::of(file, member.place);
        show(&mut (&mut at).take(member.size))
    }
}
