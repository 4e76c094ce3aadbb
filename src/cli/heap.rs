//! How this process asks the system for memory, so that `memory` in a pipeline can be kept.

/// Larger pieces (volumes, masks, whole files) are asked for one by one, and given back at once when freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Threads share so many heaps: each keeps what was freed in it, and a program has dozens of threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Bounds what is kept after it was freed. Must come before the first thread. By itself glibc keeps volumes,
/// too, once it has seen one freed, in as many heaps as there are threads.
pub fn bound() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, LARGE_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: two numbers, and no other thread yet. One that glibc refuses changes nothing.
        unsafe { libc::mallopt(what, value) };
    }
}
