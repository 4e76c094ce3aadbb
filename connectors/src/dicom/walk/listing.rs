//! The content of one folder or container, and what of it is passed over.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use super::super::found::{FileStat, Found};
use super::links::{Links, Taken, target};
use super::passed::{PassedOver, is_remnant, is_versions};
use super::{Entry, Unseen, id};
use crate::container;

/// The content of one folder, in the order in which the bytes of all paths below come.
pub(super) struct Listed<F> {
    pub entries: Vec<Entry<F>>,
    pub notes: Vec<Unseen>,
    pub passed: PassedOver,
}

impl<F> Default for Listed<F> {
    fn default() -> Self {
        Self { entries: Vec::new(), notes: Vec::new(), passed: PassedOver::default() }
    }
}

/// Lists a folder; `real` says where it lies when a link led to it.
pub(super) fn list<F: Found>(folder: &Path, real: Option<&Path>, links: &Links) -> Listed<F> {
    let mut listed = Listed::default();
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            match container::listed(folder) {
                Ok((members, left_out)) => {
                    listed.add_members(folder, members, real, links);
                    listed.passed.extend_members(left_out);
                }
                Err(source) => listed.notes.push(Unseen { path: folder.to_owned(), source }),
            }
            return listed;
        }
        Err(source) => {
            listed.notes.push(Unseen { path: folder.to_owned(), source });
            return listed;
        }
    };
    for entry in listing {
        let (path, found) = match entry {
            Ok(entry) => (entry.path(), listed.look(&entry, real, links)),
            Err(error) => (folder.to_owned(), Err(error)),
        };
        match found {
            Ok(found) => listed.entries.extend(found),
            Err(source) => listed.notes.push(Unseen { path, source }),
        }
    }
    // The paths have their folder in common.
    let from = folder.as_os_str().len();
    listed.entries.sort_unstable_by(|a, b| a.order(b, from));
    listed
}

impl<F: Found> Listed<F> {
    /// What an entry of a folder is to a walk; nothing for what is passed over.
    fn look(&mut self, entry: &DirEntry, real: Option<&Path>, links: &Links) -> io::Result<Option<Entry<F>>> {
        let (name, path) = (entry.file_name(), entry.path());
        if is_remnant(&name) {
            self.passed.remnants.add(path);
            return Ok(None);
        }
        let kind = entry.file_type()?;
        if kind.is_dir() && is_versions(&name) {
            self.passed.versions.add(path);
            return Ok(None);
        }
        if kind.is_symlink() {
            if !links.followed {
                return Ok(None);
            }
            let (real, metadata) = target(&path)?;
            return Ok(self.linked(path, real, &metadata, links));
        }
        if let Some(real) = real {
            return Ok(self.linked(path, real.join(name), &entry.metadata()?, links));
        }
        if kind.is_dir() || (kind.is_file() && container::is_container(&path)) {
            return Ok(Some(Entry::Folder(path, id(&entry.metadata()?), None)));
        }
        if !kind.is_file() {
            self.passed.special.add(path);
            return Ok(None);
        }
        F::from_entry(path, entry).map(|file| Some(Entry::File(file)))
    }

    /// What a link leads to, or what lies in a folder that one leads to.
    fn linked(
        &mut self,
        path: PathBuf,
        real: PathBuf,
        metadata: &std::fs::Metadata,
        links: &Links,
    ) -> Option<Entry<F>> {
        let folder = metadata.is_dir() || (metadata.is_file() && container::is_container(&path));
        if !folder && !metadata.is_file() {
            self.passed.special.add(path);
            return None;
        }
        let taken = if folder { links.folder(&real) } else { links.file(&path, &real) };
        match taken {
            Taken::Own => None,
            Taken::Again => {
                self.passed.again.add(path);
                None
            }
            Taken::Above => {
                self.passed.above.add(path);
                None
            }
            Taken::Yes | Taken::Once if folder => Some(Entry::Folder(path, id(metadata), Some(real))),
            Taken::Yes => Some(Entry::File(F::from_stat(FileStat::new(path, metadata)))),
            Taken::Once => Some(Entry::Once(F::from_stat(FileStat::new(path, metadata)), id(metadata))),
        }
    }

    fn add_members(&mut self, container: &Path, members: Vec<FileStat>, real: Option<&Path>, links: &Links) {
        for member in members {
            let below = member.path.strip_prefix(container).unwrap_or(&member.path);
            if below.iter().any(is_remnant) {
                self.passed.remnants.add(member.path);
                continue;
            }
            let taken = real.map_or(Taken::Yes, |real| links.file(&member.path, &real.join(below)));
            match taken {
                Taken::Yes | Taken::Once => self.entries.push(Entry::File(F::from_stat(member))),
                Taken::Own | Taken::Above | Taken::Again => {}
            }
        }
    }
}
