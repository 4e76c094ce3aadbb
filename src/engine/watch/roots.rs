//! The folders that are watched: whether events can tell of them, and what lies below.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// File systems whose changes are told only on the machine that makes them.
const REMOTE: [&str; 17] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "orangefs",
    "panfs",
    "pvfs2",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// The same behind FUSE, as `fuse.sshfs`; other ones are of this machine.
const REMOTE_FUSE: [&str; 10] =
    ["ceph", "gcsfuse", "glusterfs", "goofys", "juicefs", "mount-s3", "rclone", "s3fs", "sshfs", "blobfuse2"];

/// One folder (or file) as it was asked for, and where it lies in truth.
#[derive(Debug)]
pub(super) struct Root {
    /// The path as in the pipeline, absolute.
    pub given: PathBuf,
    /// The path without links; events come by these names.
    pub real: PathBuf,
    /// Device and inode of what is watched; `None` when nothing is.
    pub watched: Option<(u64, u64)>,
    /// Whether it is of no use to try again.
    pub given_up: bool,
    /// Whether it was told that it cannot be watched.
    pub told: bool,
}

impl Root {
    pub fn new(path: &Path) -> Self {
        let given = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { real: given.clone(), given, watched: None, given_up: false, told: false }
    }

    /// Looks up what lies there now: device and inode. Its name without links is looked up anew.
    pub fn locate(&mut self) -> Option<(u64, u64)> {
        self.real = fs::canonicalize(&self.given).ok()?;
        let metadata = fs::metadata(&self.real).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// An event's path by the name that was asked for.
    pub fn name(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.real).ok()?;
        Some(if below.as_os_str().is_empty() { self.given.clone() } else { self.given.join(below) })
    }

    /// The remote file system that it lies on, if it does.
    pub fn remote(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let kind = file_system(&mounts, &self.real)?;
        let remote = match kind.strip_prefix("fuse.") {
            Some(program) => REMOTE_FUSE.contains(&program),
            None => REMOTE.contains(&kind),
        };
        remote.then(|| kind.to_owned())
    }
}

/// The type of the file system that holds a path, from the text of `/proc/self/mountinfo`.
fn file_system<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let (left, right) = line.split_once(" - ")?;
        let at = unescaped(left.split(' ').nth(4)?);
        path.starts_with(&at).then(|| (at.len(), right.split(' ').next()))
    };
    // The later of two mounts at one place hides the other; `max_by_key` takes the last of equals.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length)?.1
}

/// Spaces and the like stand as `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Adds the files below a folder; `false` when there would be more than `most` in the set, or where a link lies: a look
/// at everything says whether it counts. What cannot be read now is found by the next one.
pub(super) fn add_files_below(folder: &Path, most: usize, files: &mut BTreeSet<PathBuf>) -> bool {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => drop(files.insert(entry.path())),
                Ok(kind) if kind.is_symlink() => return false,
                _ => {}
            }
            if files.len() + folders.len() > most {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_that_holds_a_path_tells_its_file_system() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      40 22 0:40 / /mnt/my\\040archive rw - nfs4 pacs:/export rw\n\
                      41 22 0:41 / /mnt/over rw - ext4 /dev/sdb rw\n\
                      42 22 0:42 / /mnt/over rw master:1 - fuse.sshfs me@there:/ rw\n\
                      damaged\n";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/data"), Some("ext4"));
        assert_eq!(kind("/mnt/my archive/a/b"), Some("nfs4"));
        assert_eq!(kind("/mnt/my archives"), Some("ext4"));
        assert_eq!(kind("/mnt/over/x"), Some("fuse.sshfs"));
        assert_eq!(file_system("", Path::new("/")), None);
        assert_eq!(unescaped("a\\011b\\"), "a\tb\\");
    }

    #[test]
    fn paths_are_told_by_the_name_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut root = Root::new(&link);
        assert!(root.locate().is_some() && root.remote().is_none());
        assert_eq!(root.name(&real.join("a/b")), Some(link.join("a/b")));
        assert_eq!(root.name(&real).unwrap().as_os_str(), link.as_os_str());
        assert_eq!(root.name(folder.path()), None);
    }
}
