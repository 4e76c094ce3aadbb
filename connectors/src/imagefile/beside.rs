//! Files that a header names: they lie in its own folder, or are refused.

use std::path::{Component, Path, PathBuf};

use crate::Reject;

/// The path of a file that the header at `header` names.
pub(crate) fn beside(header: &Path, named: &str) -> Result<PathBuf, Reject> {
    let named_path = Path::new(named);
    let mut parts = named_path.components().peekable();
    let inside = parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        && !named.contains(['\\', ':']);
    if !inside {
        let message = format!("a file in the header's own folder expected, `{named}` found");
        return Err(Reject::new("OUTSIDE_FOLDER", message, "keep voxels beside their header"));
    }
    Ok(header.parent().unwrap_or(Path::new("")).join(named_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_headers_own_folder_is_read() {
        let header = Path::new("scans/a.mhd");
        assert_eq!(beside(header, "a.raw").unwrap(), Path::new("scans/a.raw"));
        assert_eq!(beside(header, "sub/a.raw").unwrap(), Path::new("scans/sub/a.raw"));
        for named in ["../a.raw", "/etc/passwd", "sub/../../a.raw", "", "..\\a.raw", "C:\\a.raw"] {
            assert_eq!(beside(header, named).unwrap_err().code, "OUTSIDE_FOLDER", "{named}");
        }
    }
}
