//! Files that hold files: a `.zip` or `.tar` is read as if it were a folder, without unpacking it.
//!
//! A member's path is the container's, a slash, and its name inside. Everything that reads files by path
//! ([`read`], [`stat`]) takes such a path as well as a plain one.

mod at;
mod tar;
mod zip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::at::{At, too_long};
use crate::dicom::{FileStat, LeftOut};
use crate::reading::{self, Held, Room};

/// The number of containers whose lists of members are kept in memory: those that are read at the moment.
const KEPT: usize = 8;
/// The share of what reading may hold that all lists of members together may take: one in so many bytes.
const LISTS: u64 = 4;
/// The bytes that a list of members may always take, however little reading may hold.
const SHORT: u64 = 1 << 20;
/// The size in bytes above which the beginning of a file is looked at before the rest is read.
const LARGE: u64 = 1 << 20;
/// The number of bytes in the beginning that is looked at.
const HEAD: usize = 8 << 10;

/// The multiple of an archive's size that all its members may come to, where that is more than reading may
/// hold: archives of scans come to three times their size, those of masks to a few hundred.
const FAR_MORE: u64 = 500;

/// What a kind of container must be able to do.
trait Members: Send + Sync {
    /// The members that are files, by name.
    fn list(&self) -> &BTreeMap<Vec<u8>, Member>;
    /// The members of the container that are not read.
    fn left_out(&self) -> &LeftOut;
    /// Shows the content of a member as it is unpacked.
    fn stream(&self, file: &Arc<File>, member: &Member, show: &mut Show<'_>) -> io::Result<()>;
}

/// A function that is shown bytes as they come.
type Show<'s> = dyn FnMut(&mut dyn Read) -> io::Result<()> + 's;

/// One file inside a container.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// The member's number in the container, or the place where its bytes begin.
    place: u64,
    /// The member's size in bytes, unpacked.
    size: u64,
    /// The mark that tells the member from another of the same name: its checksum, or its place.
    mark: u64,
}

/// An open container.
struct Container {
    stat: FileStat,
    file: Arc<File>,
    members: Box<dyn Members>,
    /// The bytes that the list of members takes in memory, about.
    list: u64,
}

/// The containers that were read last, the newest at the end.
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

/// The files in a container, by the bytes of their paths. What is not among them [`left_out`] says.
///
/// # Errors
/// Fails when the file cannot be read, or is no container.
pub fn members(path: &Path) -> io::Result<Vec<FileStat>> {
    listed(path).map(|(members, _)| members)
}

/// The [`members`] of a container, and the members that are not among them.
pub(crate) fn listed(path: &Path) -> io::Result<(Vec<FileStat>, LeftOut)> {
    let container = open(path)?;
    let members = container.members.list().iter().map(|(name, member)| container.stat_of(name, member));
    Ok((members.collect(), container.members.left_out().clone()))
}

/// The members of a container that are not among its [`members`], named below the container's path.
///
/// # Errors
/// The errors of [`members`].
pub fn left_out(path: &Path) -> io::Result<LeftOut> {
    listed(path).map(|(_, left_out)| left_out)
}

/// The content of a file, which may lie in a container. What becomes of the bytes is the caller's to count:
/// [`hold`] counts them as long as they are there.
///
/// # Errors
/// The system's errors; `InvalidData` for a damaged container, and [`reading::is_over`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    hold(path).map(Held::into_bytes)
}

/// The content of a file, as [`read`] gives it, with the room that it takes.
///
/// # Errors
/// The errors of [`read`], and [`reading::is_busy`] on a thread that must not wait.
pub fn hold(path: &Path) -> io::Result<Held> {
    let mut bytes = Vec::new();
    let room = read_into(path, &mut bytes)?;
    Ok(Held::new(bytes, room))
}

/// Appends the content of a file, as [`hold`] gives it, to a buffer.
///
/// # Errors
/// The errors of [`hold`].
pub fn read_into(path: &Path, buffer: &mut Vec<u8>) -> io::Result<Room> {
    match reading::open(path) {
        Ok((file, facts)) => {
            let room = reading::room(facts.len())?;
            reading::read_known(&file, facts.len(), buffer)?;
            Ok(room)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => In::open(path, error)?.read_into(buffer),
        Err(error) => Err(error),
    }
}

/// The content of a file, unless `decides` knows from its beginning and its length that the rest need not be read.
///
/// # Errors
/// The errors of [`hold`].
pub(crate) fn hold_unless<T>(
    path: &Path,
    decides: impl FnOnce(&[u8], u64) -> Option<T>,
) -> io::Result<Result<T, Held>> {
    let mut bytes = Vec::new();
    match reading::open(path) {
        Ok((file, facts)) => {
            if facts.len() > LARGE {
                let mut head = vec![0; HEAD];
                file.read_exact_at(&mut head, 0)?;
                if let Some(decided) = decides(&head, facts.len()) {
                    return Ok(Ok(decided));
                }
            }
            let room = reading::room(facts.len())?;
            reading::read_known(&file, facts.len(), &mut bytes)?;
            Ok(Err(Held::new(bytes, room)))
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let member = In::open(path, error)?;
            if member.member.size > LARGE {
                let head = member.head(HEAD)?;
                if let Some(decided) = decides(&head, member.member.size) {
                    return Ok(Ok(decided));
                }
            }
            let room = member.read_into(&mut bytes)?;
            Ok(Err(Held::new(bytes, room)))
        }
        Err(error) => Err(error),
    }
}

/// The first bytes of a file, which may lie in a container; fewer when it is shorter.
///
/// # Errors
/// The system's errors; `InvalidData` for a damaged container.
pub(crate) fn head(path: &Path, count: usize) -> io::Result<Vec<u8>> {
    match reading::open(path) {
        Ok((file, _)) => {
            let mut head = Vec::new();
            file.take(count as u64).read_to_end(&mut head)?;
            Ok(head)
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => In::open(path, error)?.head(count),
        Err(error) => Err(error),
    }
}

/// A member of an open container.
struct In {
    container: Arc<Container>,
    member: Member,
}

impl In {
    /// The member at a path, of which the system said `error`.
    fn open(path: &Path, error: io::Error) -> io::Result<Self> {
        let (container, name) = inside(path).ok_or(error)?;
        let container = open(&container)?;
        let member = *container.members.list().get(&name).ok_or(ErrorKind::NotFound)?;
        Ok(Self { container, member })
    }

    fn stream(&self, show: &mut Show<'_>) -> io::Result<()> {
        self.container.members.stream(&self.container.file, &self.member, show)
    }

    fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.stream(&mut |bytes| bytes.take(count as u64).read_to_end(&mut head).map(drop))?;
        Ok(head)
    }

    fn read_into(&self, buffer: &mut Vec<u8>) -> io::Result<Room> {
        let (size, before) = (self.member.size, buffer.len());
        let mut room = None;
        self.stream(&mut |bytes| {
            room = Some(reading::room(size)?);
            // One byte more than the member declares is read, to find out whether its declared size is a lie.
            reading::read_coming(bytes, size.saturating_add(1), buffer)
        })?;
        let found = (buffer.len() - before) as u64;
        match room {
            Some(room) if found == size => Ok(room),
            _ => Err(damaged(format!("{size} bytes declared, {found} found"))),
        }
    }
}

/// What the system says of a file, which may lie in a container; of a link, of what it leads to.
///
/// # Errors
/// The system's errors; `NotFound` for a member that is not there any more.
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
    let (file, facts) = reading::open(path)?;
    let stat = FileStat::new(path.to_owned(), &facts);
    let recent = || RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = recent().iter().find(|known| known.stat == stat) {
        return Ok(known.clone());
    }
    let file = Arc::new(file);
    let kind = kind(path).ok_or(ErrorKind::InvalidInput)?;
    // The list may take so many bytes in memory for each byte that it takes in the file.
    let grows = match kind {
        ContainerFormat::Zip => 16,
        ContainerFormat::Tar => 1,
    };
    let most = (reading::allowed() / LISTS / grows).max(SHORT);
    let at = At { file: file.clone(), at: 0, length: stat.size, left: Arc::new(AtomicU64::new(most)) };
    let left = at.left.clone();
    let members: Box<dyn Members> = match kind {
        ContainerFormat::Zip => Box::new(zip::Zip::open(at, path)?),
        ContainerFormat::Tar => Box::new(tar::Tar::open(at, path)?),
    };
    let list = (most - left.load(Ordering::Relaxed)) * grows;
    // From now on the container's members are read, which takes room of its own.
    left.store(u64::MAX, Ordering::Relaxed);
    let container = Arc::new(Container { stat, file, members, list });
    let mut recent = recent();
    recent.retain(|known| known.stat.path != path);
    let room = reading::allowed() / LISTS;
    while recent.len() == KEPT || recent.iter().map(|known| known.list).sum::<u64>() + list > room {
        if recent.is_empty() {
            break;
        }
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

/// A member for people, whatever its name says: below its container.
fn named(container: &Path, name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&[container.as_os_str().as_bytes(), b"/", name].concat()))
}

/// Refuses a container whose members come to far more than it holds.
fn plausible(length: u64, all: u64) -> io::Result<()> {
    match all > length.saturating_mul(FAR_MORE) && all > reading::allowed() {
        true => Err(damaged(format!("an archive of {length} bytes whose members come to {all} is refused"))),
        false => Ok(()),
    }
}

/// The error of a container whose own words do not fit together.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}
