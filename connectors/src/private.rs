//! Files and folders that are for their owner alone, whatever the umask says.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes a folder, and those above it, as their owner's alone; one that is there keeps the rights that it has.
///
/// # Errors
/// The system's errors.
pub fn folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)?;
    narrow(path, FOLDER)
}

/// Makes a file, or empties the one that is there.
///
/// # Errors
/// The system's errors.
///
/// # Examples
/// ```
/// use std::os::unix::fs::PermissionsExt;
/// # let folder = tempfile::tempdir().unwrap();
/// let file = tomoflow_connectors::private::create(&folder.path().join("key")).unwrap();
/// assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
/// ```
pub fn create(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(true).mode(FILE).open(path)?;
    narrow(path, FILE)?;
    Ok(file)
}

/// Writes a file.
///
/// # Errors
/// The system's errors.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    create(path)?.write_all(bytes)
}

/// Takes others' rights from a folder and from what lies in it: all of it where the folder itself was open to them,
/// as one that an earlier version made is, else its own files.
///
/// # Errors
/// Fails when the folder cannot be read.
pub fn tighten(root: &Path) -> io::Result<()> {
    let open = fs::metadata(root)?.permissions().mode() & 0o077 != 0;
    if open {
        tracing::info!("{} was open to other users, and is its owner's alone now", root.display());
    }
    below(root, open)?;
    // The folder itself comes last: after a kill in between the work begins again.
    narrow(root, FOLDER)
}

fn below(folder: &Path, deep: bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && deep {
            below(&path, deep)?;
            narrow(&path, FOLDER)?;
        } else if kind.is_file() {
            narrow(&path, FILE)?;
        }
    }
    Ok(())
}

/// Sets the rights where they are others. A file system without rights is told of, once.
fn narrow(path: &Path, mode: u32) -> io::Result<()> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let now = match fs::metadata(path) {
        // Somebody was quicker to remove it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        now => now?.permissions().mode() & 0o777,
    };
    if now == mode {
        return Ok(());
    }
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode))
        && !TOLD.swap(true, Ordering::Relaxed)
    {
        tracing::warn!("{} stays open to others ({now:o}): {error}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_open_is_tightened_to_the_last_file() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("store");
        fs::create_dir_all(root.join("artifacts/ab")).unwrap();
        let files = [root.join("state"), root.join("artifacts/ab/x")];
        for (path, open) in
            [(&root, 0o755), (&root.join("artifacts"), 0o775), (&root.join("artifacts/ab"), 0o777)]
        {
            fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
        }
        for file in &files {
            fs::write(file, "x").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        tighten(&root).unwrap();
        for folder in [&root, &root.join("artifacts"), &root.join("artifacts/ab")] {
            assert_eq!(mode(folder), FOLDER, "{}", folder.display());
        }
        assert!(files.iter().all(|file| mode(file) == FILE));
        // Somebody opened one file to others, in a folder that is tight.
        fs::set_permissions(&files[0], Permissions::from_mode(0o666)).unwrap();
        tighten(&root).unwrap();
        assert_eq!(mode(&files[0]), FILE);
        write(&files[0], b"y").unwrap();
        assert_eq!((mode(&files[0]), fs::read(&files[0]).unwrap()), (FILE, b"y".to_vec()));
    }
}
