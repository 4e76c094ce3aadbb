//! The memory that this process may have: the least of the machine's, its control group's and its own limits.

use std::fs;
use std::path::Path;

/// The number of bytes that this process may have; none where nothing says it.
pub(crate) fn allowance() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let grouped = groups.lines().flat_map(of_group);
    [of_machine(), own()].into_iter().flatten().chain(grouped).min()
}

fn of_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The bounds on the control group that a line names, of the first kind of groups or the second, and on those
/// above it.
fn of_group(line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(kinds), Some(group)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, file) = match kinds {
        "" => ("/sys/fs/cgroup", "memory.max"),
        kinds if kinds.split(',').any(|kind| kind == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = group.trim_start_matches('/');
    let limit = |above: &Path| {
        let text = fs::read_to_string(Path::new(root).join(above).join(file)).ok()?;
        text.trim().parse().ok()
    };
    Path::new(group).ancestors().filter_map(limit).collect()
}

/// The bound on this process's addresses.
fn own() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call writes one record, which is ours.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    (asked == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory() {
        let found = allowance().unwrap();
        assert!((1 << 20..1 << 50).contains(&found), "{found}");
        assert!(of_group("nothing").is_empty() && of_group("3:cpu,cpuacct:/a").is_empty());
    }
}
