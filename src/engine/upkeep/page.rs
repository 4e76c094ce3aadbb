//! The page that `report` writes, as it was written: a note in the store, which waits for no run that holds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tomoflow_connectors::{Digest, private};

use crate::engine::outputs::tables::{ASIDE_PAGE, PAGE};

const NOTE: &str = "report.blake3";

/// What became of the page since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// It is as it was, or somebody took it away.
    Same,
    /// It has another content.
    Other,
    /// Nothing says how it was written.
    Unknown,
}

/// Forgets how the page was written, before it is written anew. A page at another place is nobody's.
///
/// # Errors
/// When the note cannot be removed.
pub fn begin_page(out: &Path, path: &Path) -> io::Result<()> {
    if is_page(out, path) { forget(out) } else { Ok(()) }
}

/// Keeps how the page was written.
///
/// # Errors
/// When it cannot be read, or the note cannot be written.
pub fn keep_page(out: &Path, path: &Path) -> io::Result<()> {
    if !is_page(out, path) || !out.join("store").is_dir() {
        return Ok(());
    }
    let digest = Digest::of_stream(fs::File::open(path)?)?;
    private::write(&note(out), text(digest).as_bytes())
}

/// What became of the page in `out`.
pub(super) fn since(out: &Path) -> Page {
    let Ok(known) = fs::read(note(out)) else { return Page::Unknown };
    match fs::File::open(out.join(PAGE)).and_then(Digest::of_stream) {
        // Compared as text: no other spelling of a digest is what was written.
        Ok(found) if text(found).as_bytes() == known => Page::Same,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Page::Same,
        _ => Page::Other,
    }
}

/// Gives a page that is not what was written another name: somebody may have written into it.
pub(super) fn set_aside(out: &Path) -> io::Result<()> {
    fs::rename(out.join(PAGE), out.join(ASIDE_PAGE))?;
    forget(out)
}

fn forget(out: &Path) -> io::Result<()> {
    match fs::remove_file(note(out)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn note(out: &Path) -> PathBuf {
    out.join("store").join(NOTE)
}

fn text(digest: Digest) -> String {
    format!("{digest}\n")
}

/// Whether a path is the page's in `out`, however it is written.
fn is_page(out: &Path, path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let same =
        matches!((fs::canonicalize(folder), fs::canonicalize(out)), (Ok(one), Ok(other)) if one == other);
    same && path.file_name().is_some_and(|name| name == PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_known_as_it_was_written_and_no_other_is() {
        let out = tempfile::tempdir().unwrap();
        let (out, path) = (out.path(), out.path().join(PAGE));
        fs::write(&path, "a page").unwrap();
        keep_page(out, &path).unwrap();
        assert_eq!(since(out), Page::Unknown, "there is no store");
        fs::create_dir(out.join("store")).unwrap();
        let other = out.join("other.html");
        fs::write(&other, "another page").unwrap();
        keep_page(out, &other).unwrap();
        assert_eq!(since(out), Page::Unknown);
        keep_page(&out.join("store/.."), &path).unwrap();
        assert_eq!(since(out), Page::Same);
        fs::write(&path, "a pagf").unwrap();
        assert_eq!(since(out), Page::Other);
        begin_page(out, &other).unwrap();
        assert_eq!(since(out), Page::Other, "the other page is not this one");
        set_aside(out).unwrap();
        assert!(since(out) == Page::Unknown && out.join(ASIDE_PAGE).is_file());
        fs::write(&path, "a page").unwrap();
        keep_page(out, &path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(since(out), Page::Same, "whoever takes it away may");
        begin_page(out, &path).unwrap();
        assert_eq!(since(out), Page::Unknown);
    }
}
