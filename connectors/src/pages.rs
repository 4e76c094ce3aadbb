//! Memory as processors like it: large one in large pages, so that a volume is touched for the first time in hundreds of
//! faults, not in tens of thousands; and what lies in pieces asked for in time.

/// The size of a large page on the machines that we know.
const LARGE: usize = 2 << 20;
/// The bytes of memory that a processor fetches at once.
const LINE: usize = 64;

/// Asks for large pages where a volume lies, before it is first touched. A system that has none, or does not
/// give any, changes nothing.
pub fn large<T>(voxels: &mut [T]) {
    let Some((start, length)) = whole_pages(voxels.as_ptr() as usize, size_of_val(voxels)) else { return };
    #[cfg(target_os = "linux")]
    // SAFETY: the range lies within memory that is ours alone; the advice changes no byte of it.
    unsafe {
        libc::madvise(start as *mut libc::c_void, length, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, length);
}

/// Asks for the memory of a slice to be brought near, before it is read or written. Pieces of some hundred bytes that
/// lie far apart come too late otherwise: a processor foresees long stretches alone. One that is not known here is not
/// asked.
#[inline]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of_val(values)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the place lies within the slice, and a hint reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().cast::<i8>().add(offset)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, LINE);
}

/// The large pages that lie wholly within a range: the place where they begin, and their bytes.
fn whole_pages(start: usize, length: usize) -> Option<(usize, usize)> {
    let end = start.checked_add(length)? / LARGE * LARGE;
    let start = start.checked_next_multiple_of(LARGE)?;
    (end > start).then(|| (start, end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_within_the_range_count() {
        assert_eq!(whole_pages(0, 2 * LARGE), Some((0, 2 * LARGE)));
        assert_eq!(whole_pages(1, 2 * LARGE), Some((LARGE, LARGE)));
        assert_eq!(whole_pages(LARGE - 1, LARGE + 1), Some((LARGE, LARGE)));
        assert_eq!(whole_pages(1, LARGE), None);
        assert_eq!(whole_pages(usize::MAX - 1, 8), None);
    }

    #[test]
    fn the_voxels_stay_as_they_are() {
        let mut voxels = vec![0.0; 4 * LARGE / 4 + 7];
        voxels[3] = 5.0;
        large(&mut voxels);
        assert_eq!((voxels[3], voxels.iter().sum::<f32>()), (5.0, 5.0));
        large::<f32>(&mut []);
        prefetch(&voxels);
        prefetch(&voxels[..3]);
        prefetch::<f32>(&[]);
        assert_eq!(voxels[3], 5.0);
    }
}
