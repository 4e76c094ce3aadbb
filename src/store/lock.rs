//! Who holds a store: one process at a time.

use std::fs;
use std::path::Path;

use super::{StoreError, host};

/// Who else may use the store meanwhile.
pub(super) enum Access {
    Alone,
    Shared,
}

/// Takes the store's lock; the file's text says who has it.
pub(super) fn hold(root: &Path, access: Access) -> Result<fs::File, StoreError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = root.join("holder");
    let mut options = fs::File::options();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = match access {
        Access::Alone => file.open(&path),
        Access::Shared => fs::File::open(&path),
    }
    .map_err(StoreError::io(&path))?;
    let take = || match access {
        Access::Alone => file.try_lock(),
        Access::Shared => file.try_lock_shared(),
    };
    let mut taken = take();
    for _ in 0..20 {
        // Whoever only looks holds it for a moment; and what the file says is about who ran last.
        if !matches!(taken, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        taken = take();
    }
    match taken {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "another process" } else { holder.trim() };
            return Err(StoreError::Held { path: root.to_owned(), holder: holder.to_owned() });
        }
        Err(fs::TryLockError::Error(source)) => return Err(StoreError::io(&path)(source)),
    }
    if matches!(access, Access::Alone) {
        let holder = format!("process {} on {}\n", std::process::id(), host());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(StoreError::io(&path))?;
    }
    Ok(file)
}
