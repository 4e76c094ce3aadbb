//! Files that hold files: a `.zip` or `.tar` is read as if it were a folder, without unpacking it.
//!
//! A member's path is the container's, a slash, and its name inside. Everything that reads files by path
//! ([`read`], [`stat`]) takes such a path as well as a plain one.

mod tar;
mod zip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dicom::FileStat;

/// Containers whose lists of members are kept in memory: those that are read at the moment.
const KEPT: usize = 8;

/// What a kind of container must be able to do.
trait Members: Send + Sync {
    /// The members that are files, by name.
    fn list(&self) -> &BTreeMap<Vec<u8>, Member>;
    /// The content of a member.
    fn read(&self, file: &Arc<File>, member: &Member) -> io::Result<Vec<u8>>;
}

/// One file inside.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its number, or where its bytes begin.
    place: u64,
    /// Bytes, unpacked.
    size: u64,
    /// What tells it from another of the same name: its checksum, or its place.
    mark: u64,
}

/// An open container.
struct Container {
    stat: FileStat,
    file: Arc<File>,
    members: Box<dyn Members>,
}

/// Containers that were read last, the newest at the end.
static RECENT: Mutex<Vec<Arc<Container>>> = Mutex::new(Vec::new());

/// Whether a file is a container, by its name.
pub fn is_container(path: &Path) -> bool {
    kind(path).is_some()
}

/// The folder that a path stands for: a DICOMDIR lists what lies beside it, and each file says itself, and
/// better, what it is.
pub fn folder_of(path: &Path) -> &Path {
    match path.file_name() {
        Some(name) if name.eq_ignore_ascii_case("DICOMDIR") && path.is_file() => {
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
        }
        _ => path,
    }
}

#[derive(Clone, Copy)]
enum ContainerFormat {
    Zip,
    Tar,
}

fn kind(path: &Path) -> Option<ContainerFormat> {
    let extension = path.extension()?.to_ascii_lowercase();
    match extension.as_bytes() {
        b"zip" => Some(ContainerFormat::Zip),
        b"tar" => Some(ContainerFormat::Tar),
        _ => None,
    }
}

/// The files in a container, by the bytes of their paths. Links, and names that lead out of it, are left out.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn members(path: &Path) -> io::Result<Vec<FileStat>> {
    let container = open(path)?;
    Ok(container.members.list().iter().map(|(name, member)| container.stat_of(name, member)).collect())
}

/// The content of a file, which may lie in a container.
///
/// # Errors
/// What the system says; `InvalidData` for a damaged container.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, &mut bytes)?;
    Ok(bytes)
}

/// The same, at the end of a buffer.
///
/// # Errors
/// As for [`read`].
pub fn read_into(path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    match File::open(path) {
        Ok(mut file) => file.read_to_end(buffer).map(drop),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let (container, name) = inside(path).ok_or(error)?;
            let container = open(&container)?;
            let member = container.members.list().get(&name).ok_or(ErrorKind::NotFound)?;
            buffer.append(&mut container.members.read(&container.file, member)?);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What the system says of a file, which may lie in a container; of a link, of what it leads to.
///
/// # Errors
/// What the system says; `NotFound` for a member that is not there any more.
pub fn stat(path: &Path) -> io::Result<FileStat> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(FileStat::new(path.to_owned(), &metadata)),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let (container, name) = inside(path).ok_or(ErrorKind::NotFound)?;
            let container = open(&container)?;
            let member = container.members.list().get(&name).ok_or(ErrorKind::NotFound)?;
            Ok(container.stat_of(&name, member))
        }
        Err(error) => Err(error),
    }
}

/// The container that a path leads into, and the name in there.
fn inside(path: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let container = path.ancestors().skip(1).find(|above| above.is_file())?;
    is_container(container).then_some(())?;
    let name = path.strip_prefix(container).ok()?;
    Some((container.to_owned(), name.as_os_str().as_bytes().to_vec()))
}

/// Opens a container, unless it is open and has not changed.
fn open(path: &Path) -> io::Result<Arc<Container>> {
    let file = File::open(path)?;
    let stat = FileStat::new(path.to_owned(), &file.metadata()?);
    let recent = || RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = recent().iter().find(|known| known.stat == stat) {
        return Ok(known.clone());
    }
    let file = Arc::new(file);
    let at = At { file: file.clone(), at: 0, length: stat.size };
    let members: Box<dyn Members> = match kind(path).ok_or(ErrorKind::InvalidInput)? {
        ContainerFormat::Zip => Box::new(zip::Zip::open(at)?),
        ContainerFormat::Tar => Box::new(tar::Tar::open(at)?),
    };
    let container = Arc::new(Container { stat, file, members });
    let mut recent = recent();
    recent.retain(|known| known.stat.path != path);
    if recent.len() == KEPT {
        recent.remove(0);
    }
    recent.push(container.clone());
    Ok(container)
}

impl Container {
    /// A member changes with the container's time, or by what tells it from another of its name.
    fn stat_of(&self, name: &[u8], member: &Member) -> FileStat {
        FileStat {
            path: self.stat.path.join(OsStr::from_bytes(name)),
            size: member.size,
            mtime_ns: self.stat.mtime_ns,
            inode: self.stat.inode.rotate_left(32) ^ member.mark,
            ctime_ns: self.stat.ctime_ns,
        }
    }
}

/// A member's name as the path below its container; none when it leads elsewhere.
fn below(name: &[u8]) -> Option<Vec<u8>> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let name = path.into_os_string().as_bytes().to_vec();
    (!name.is_empty() && !name.contains(&0)).then_some(name)
}

/// Reads a file from a place of its own, so that several threads read one container at once.
#[derive(Clone)]
struct At {
    file: Arc<File>,
    at: u64,
    length: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A container whose own words do not fit together.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}
