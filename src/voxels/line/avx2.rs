//! Eight columns of a line at once, by the same sums in the same order as one by one: the same bits.
//!
//! It is written in instructions, since library code that is not inlined is compiled for any processor.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Line, SNAP, Volume};

const LANES: usize = 8;

/// # Safety
/// The volume [is small](Volume::is_small).
#[target_feature(enable = "avx2")]
pub(super) unsafe fn linear(line: &Line, volume: &Volume<'_, f32>, columns: Range<usize>, out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let mut column = columns.start;
    for out in blocks {
        let d = taps(line, 0, column, volume.size[0]);
        let h = taps(line, 1, column, volume.size[1]);
        let w = taps(line, 2, column, volume.size[2]);
        // SAFETY: taps are clamped to the volume.
        if !unsafe { between(volume, [d, h, w], out) } {
            line.linear_each(volume, column..column + LANES, out);
        }
        column += LANES;
    }
    line.linear_each(volume, column..columns.end, rest);
}

/// # Safety
/// The volume [is small](Volume::is_small).
#[target_feature(enable = "avx2")]
pub(super) unsafe fn nearest<T: Copy>(
    line: &Line,
    volume: &Volume<'_, T>,
    columns: Range<usize>,
    out: &mut [T],
) {
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let mut column = columns.start;
    for out in blocks {
        let d = places(line, 0, column, volume.size[0]);
        let h = places(line, 1, column, volume.size[1]);
        let w = places(line, 2, column, volume.size[2]);
        let at = lanes(offsets(volume, [d, h, w]));
        for (out, at) in out.iter_mut().zip(at) {
            *out = volume.voxels[at as usize];
        }
        column += LANES;
    }
    line.nearest_each(volume, column..columns.end, rest);
}

/// Where four columns lie along an axis.
#[inline]
#[target_feature(enable = "avx2")]
fn positions(line: &Line, axis: usize, column: usize) -> __m256d {
    let columns = _mm256_add_pd(_mm256_set1_pd(column as f64), _mm256_setr_pd(0.0, 1.0, 2.0, 3.0));
    let way = _mm256_mul_pd(_mm256_set1_pd(line.step[axis]), columns);
    _mm256_add_pd(_mm256_set1_pd(line.first[axis]), way)
}

#[inline]
#[target_feature(enable = "avx2")]
fn clamped(positions: __m256d, voxels: usize) -> __m256d {
    _mm256_min_pd(_mm256_max_pd(positions, _mm256_setzero_pd()), _mm256_set1_pd((voxels - 1) as f64))
}

#[inline]
#[target_feature(enable = "avx2")]
fn places(line: &Line, axis: usize, column: usize, voxels: usize) -> __m256i {
    let four = |column: usize| {
        let half = _mm256_add_pd(positions(line, axis, column), _mm256_set1_pd(0.5));
        _mm256_cvttpd_epi32(clamped(half, voxels))
    };
    _mm256_set_m128i(four(column + LANES / 2), four(column))
}

/// The earlier voxel of an axis around each of eight columns, and the share of the later one.
#[inline]
#[target_feature(enable = "avx2")]
fn taps(line: &Line, axis: usize, column: usize, voxels: usize) -> (__m256i, __m256) {
    let four = |column: usize| {
        let position = clamped(positions(line, axis, column), voxels);
        let low = _mm256_cvtepi32_pd(_mm256_cvttpd_epi32(position));
        let share = _mm256_sub_pd(position, low);
        let over = _mm256_cmp_pd::<_CMP_GT_OQ>(share, _mm256_set1_pd(1.0 - SNAP));
        let under = _mm256_cmp_pd::<_CMP_LT_OQ>(share, _mm256_set1_pd(SNAP));
        let low = _mm256_add_pd(low, _mm256_and_pd(over, _mm256_set1_pd(1.0)));
        let share = _mm256_andnot_pd(_mm256_or_pd(over, under), share);
        (_mm256_cvttpd_epi32(low), _mm256_cvtpd_ps(share))
    };
    let (a, b) = (four(column), four(column + LANES / 2));
    (_mm256_set_m128i(b.0, a.0), _mm256_set_m128(b.1, a.1))
}

#[inline]
#[target_feature(enable = "avx2")]
fn offsets<T>(volume: &Volume<'_, T>, [d, h, w]: [__m256i; 3]) -> __m256i {
    let [_, height, width] = volume.size.map(|n| n as i32);
    let row = _mm256_add_epi32(_mm256_mullo_epi32(d, _mm256_set1_epi32(height)), h);
    _mm256_add_epi32(_mm256_mullo_epi32(row, _mm256_set1_epi32(width)), w)
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(values: __m256i) -> [u32; LANES] {
    let mut lanes = [0; LANES];
    // SAFETY: eight numbers of 32 bits.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), values) };
    lanes
}

#[inline]
#[target_feature(enable = "avx2")]
fn blend(a: __m256, b: __m256, share: __m256) -> __m256 {
    _mm256_add_ps(a, _mm256_mul_ps(_mm256_sub_ps(b, a), share))
}

/// Writes what lies between the voxels; `false` where a pair of neighbours would begin at the last voxel of all.
///
/// # Safety
/// The volume is small, and taps lie in it.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn between(volume: &Volume<'_, f32>, taps: [(__m256i, __m256); 3], out: &mut [f32; LANES]) -> bool {
    let [_, height, width] = volume.size.map(|n| n as i32);
    let [d, h, w] = taps.map(|tap| tap.1);
    let first = offsets(volume, taps.map(|tap| tap.0));
    let later = |share: __m256| _mm256_cmp_ps::<_CMP_GT_OQ>(share, _mm256_setzero_ps());
    let next_row = _mm256_and_si256(_mm256_castps_si256(later(h)), _mm256_set1_epi32(width));
    let next_slice = _mm256_and_si256(_mm256_castps_si256(later(d)), _mm256_set1_epi32(height * width));
    let last = _mm256_add_epi32(_mm256_add_epi32(first, next_row), next_slice);
    let end = _mm256_set1_epi32(volume.voxels.len() as i32 - 2);
    if _mm256_movemask_epi8(_mm256_cmpgt_epi32(last, end)) != 0 {
        return false;
    }
    let row = |at: __m256i| {
        // SAFETY: no place is the last voxel's, since each lane's greatest was held against the end.
        let (a, b) = unsafe { pairs(volume.voxels, at) };
        _mm256_blendv_ps(a, blend(a, b, w), later(w))
    };
    let plane = |at: __m256i| blend(row(at), row(_mm256_add_epi32(at, next_row)), h);
    let values = blend(plane(first), plane(_mm256_add_epi32(first, next_slice)), d);
    // SAFETY: `out` has eight numbers.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) };
    true
}

/// The voxel at each of eight places, and the one behind it.
///
/// # Safety
/// Each place and the one behind it are of the slice.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pairs(voxels: &[f32], at: __m256i) -> (__m256, __m256) {
    let at = lanes(at);
    let two = |lane: usize| {
        // SAFETY: a pair is 64 bits of the slice, and may lie at any address.
        let pair = |at: u32| unsafe { voxels.as_ptr().add(at as usize).cast::<f64>() };
        // SAFETY: both pairs are 64 bits that may be read.
        unsafe { _mm_loadh_pd(_mm_load_sd(pair(at[lane])), pair(at[lane + 1])) }
    };
    let low = _mm256_castpd_ps(_mm256_set_m128d(two(2), two(0)));
    let high = _mm256_castpd_ps(_mm256_set_m128d(two(6), two(4)));
    // [a0 b0 a1 b1 | a2 b2 a3 b3] and [a4 b4 … b7] are picked to 0 1 4 5 | 2 3 6 7, and put in order.
    let order = |x: __m256| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(x)));
    (
        order(_mm256_shuffle_ps::<0b10_00_10_00>(low, high)),
        order(_mm256_shuffle_ps::<0b11_01_11_01>(low, high)),
    )
}
