//! What a walk passes over without reading it, so that whoever walks can say so.

use crate::shown::Shown as _;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The number of paths that are kept of each kind: enough to find the place.
const NAMED: usize = 3;

/// The folders in which programs keep versions of what lies beside them.
const VERSIONS: [&str; 4] = [".git", ".dvc", ".hg", ".svn"];

/// Whether a file or folder is what macOS leaves beside others, on shares and in archives, by its name: `._` before
/// that of another file, or `__MACOSX`.
pub fn is_remnant(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"._") || name == "__MACOSX"
}

/// Whether a folder holds the versions that a program keeps: its files have names that say nothing, and are copies of
/// those beside it, or what links beside it lead to.
pub(super) fn is_versions(name: &OsStr) -> bool {
    VERSIONS.iter().any(|versions| name == *versions)
}

/// Whether a walk passes over a path below its root by the names in it.
pub fn is_passed_over(below: &Path) -> bool {
    below.iter().any(|name| is_remnant(name) || is_versions(name))
}

/// The number of files or folders of a kind, and the paths of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Few {
    /// The number of them.
    pub count: usize,
    /// The paths of the first of them.
    pub first: Vec<PathBuf>,
}

impl Few {
    /// Counts one more.
    pub fn add(&mut self, path: PathBuf) {
        self.extend(Self { count: 1, first: vec![path] });
    }

    /// Counts those of another walk as well.
    pub fn extend(&mut self, more: Self) {
        self.count += more.count;
        self.first.extend(more.first);
        // The same paths are kept in whatever order they come.
        self.first.sort();
        self.first.truncate(NAMED);
    }

    /// The first of them by name, below `root` where they lie there.
    pub fn names(&self, root: &Path) -> String {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).shown().to_string();
        let more = if self.count > self.first.len() { ", …" } else { "" };
        format!("{}{more}", self.first.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

/// The members of a `.zip` or `.tar` that are not read, by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Members whose names are absolute, or lead out of the archive.
    pub outside: Few,
    /// Links to anything but a member that stands before them.
    pub links: Few,
    /// Members that are stored with holes.
    pub sparse: Few,
    /// Members that share their name with a later one; the archive itself where it does not name them.
    pub twice: Few,
    /// Pipes, sockets and devices.
    pub special: Few,
}

/// The files and folders that a walk passed over, by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Files and folders that macOS left beside others ([`is_remnant`]); in a container, files.
    pub remnants: Few,
    /// Folders in which programs keep versions: `.git`, `.dvc`.
    pub versions: Few,
    /// Links to what is looked at under another name.
    pub again: Few,
    /// Links to the root, or to a folder above it.
    pub above: Few,
    /// Pipes, sockets and devices.
    pub special: Few,
    /// Members of archives; pipes and the like are counted with those of folders.
    pub members: LeftOut,
}

/// The words for a kind: for one, and for several.
type Said = [&'static str; 2];

impl PassedOver {
    /// Adds what another walk passed over.
    pub fn extend(&mut self, more: Self) {
        self.remnants.extend(more.remnants);
        self.versions.extend(more.versions);
        self.again.extend(more.again);
        self.above.extend(more.above);
        self.special.extend(more.special);
        self.extend_members(more.members);
    }

    /// Adds the members of an archive that are not read.
    pub(super) fn extend_members(&mut self, more: LeftOut) {
        self.members.outside.extend(more.outside);
        self.members.links.extend(more.links);
        self.members.sparse.extend(more.sparse);
        self.members.twice.extend(more.twice);
        self.special.extend(more.special);
    }

    /// A line for each kind, with the first names below `root`; without names where `root` is none.
    pub fn lines(&self, root: Option<&Path>) -> Vec<String> {
        let kinds: [(&Few, Said); 9] = [
            (
                &self.remnants,
                [
                    "file or folder that macOS leaves beside others was passed over",
                    "files or folders that macOS leaves beside others were passed over",
                ],
            ),
            (
                &self.versions,
                [
                    "folder of a version control was passed over",
                    "folders of a version control were passed over",
                ],
            ),
            (
                &self.again,
                [
                    "link leads to what is looked at under another name, and was passed over",
                    "links lead to what is looked at under other names, and were passed over",
                ],
            ),
            (
                &self.above,
                [
                    "link leads to a folder that holds the whole source, and was not followed",
                    "links lead to folders that hold the whole source, and were not followed",
                ],
            ),
            (
                &self.special,
                ["pipe, socket or device was passed over", "pipes, sockets or devices were passed over"],
            ),
            (
                &self.members.outside,
                [
                    "member of an archive has a name that is absolute or leads out of it, and was not read",
                    "members of archives have names that are absolute or lead out of them, and were not read",
                ],
            ),
            (
                &self.members.links,
                [
                    "link in an archive leads to no member before it, and was not followed",
                    "links in archives lead to no members before them, and were not followed",
                ],
            ),
            (
                &self.members.sparse,
                [
                    "member of an archive is stored with holes (`tar -S`), and was not read",
                    "members of archives are stored with holes (`tar -S`), and were not read",
                ],
            ),
            (
                &self.members.twice,
                [
                    "member of an archive has the name of a later one, and was not read",
                    "members of archives have the names of later ones, and were not read",
                ],
            ),
        ];
        let line = |(few, [one, several]): (&Few, Said)| {
            let said = if few.count == 1 { one } else { several };
            let names = root.map(|root| format!(": {}", few.names(root))).unwrap_or_default();
            format!("{} {said}{names}", few.count)
        };
        kinds.into_iter().filter(|(few, _)| few.count > 0).map(line).collect()
    }
}
