//! Members of a `.tar`: their bytes lie in it as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ::tar::{Entry, EntryType};

use super::{At, Member, Members, Show, below, damaged, named, plausible};
use crate::dicom::LeftOut;

pub(super) struct Tar {
    members: BTreeMap<Vec<u8>, Member>,
    left_out: LeftOut,
}

impl Tar {
    pub(super) fn open(at: At, path: &Path) -> io::Result<Self> {
        let length = at.length;
        let mut archive = ::tar::Archive::new(at);
        let mut tar = Self { members: BTreeMap::new(), left_out: LeftOut::default() };
        let mut all = 0u64;
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let Some(name) = tar.name(&mut entry, path)? else { continue };
            let member = match entry.header().entry_type().is_hard_link() {
                true => tar.target(&entry),
                false => Some(found(&entry, length)?),
            };
            let Some(member) = member else {
                tar.left_out.links.add(named(path, &entry.path_bytes()));
                continue;
            };
            all = all.saturating_add(member.size);
            // The later of two members of one name counts, as when the archive is unpacked.
            if tar.members.insert(name, member).is_some_and(|earlier| earlier.place != member.place) {
                tar.left_out.twice.add(named(path, &entry.path_bytes()));
            }
        }
        // Each link to a member stands for its bytes once more.
        plausible(length, all)?;
        Ok(tar)
    }

    /// The name of a member that is read, or that is a link to one; others are told of.
    fn name(&mut self, entry: &mut Entry<'_, At>, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let kind = entry.header().entry_type();
        let left_out = match kind {
            // Folders, labels of volumes and headers that hold for all members are no files.
            EntryType::Directory | EntryType::XGlobalHeader | EntryType::XHeader => return Ok(None),
            _ if matches!(kind.as_byte(), b'V' | b'D') => return Ok(None),
            _ if kind.is_gnu_sparse() || has_holes(entry)? => &mut self.left_out.sparse,
            EntryType::Regular | EntryType::Continuous | EntryType::Link => {
                match below(&entry.path_bytes()) {
                    Some(name) => return Ok(Some(name)),
                    None => &mut self.left_out.outside,
                }
            }
            EntryType::Symlink => &mut self.left_out.links,
            _ => &mut self.left_out.special,
        };
        left_out.add(named(path, &entry.path_bytes()));
        Ok(None)
    }

    /// The member that a hard link leads to; it stands before the link.
    fn target(&self, entry: &Entry<'_, At>) -> Option<Member> {
        let name = below(&entry.link_name_bytes()?)?;
        self.members.get(&name).copied()
    }
}

/// Whether newer programs stored a member with holes: it looks like an ordinary one, and begins with a list of them.
fn has_holes(entry: &mut Entry<'_, At>) -> io::Result<bool> {
    let Some(mut extensions) = entry.pax_extensions()? else { return Ok(false) };
    Ok(extensions.any(|one| one.is_ok_and(|one| one.key_bytes().starts_with(b"GNU.sparse."))))
}

/// The place of an ordinary member.
fn found(entry: &Entry<'_, At>, length: u64) -> io::Result<Member> {
    let (place, size) = (entry.raw_file_position(), entry.size());
    if place.checked_add(size).is_none_or(|end| end > length) {
        return Err(damaged(format!("a member of {size} bytes ends after the file")));
    }
    Ok(Member { place, size, mark: place.rotate_left(32) })
}

impl Members for Tar {
    fn list(&self) -> &BTreeMap<Vec<u8>, Member> {
        &self.members
    }

    fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    fn stream(&self, file: &Arc<File>, member: &Member, show: &mut Show<'_>) -> io::Result<()> {
        // The place was checked against the container's length when the container was listed.
        let mut at = At::of(file, member.place);
        show(&mut (&mut at).take(member.size))
    }
}
