//! What memory allows: bytes a second that all threads together copy.

use std::time::Instant;

use rayon::prelude::*;
use serde_json::Value;

/// Far beyond any cache.
const BYTES: usize = 512 << 20;

/// Bytes read and written a second, by a copy on all threads; the fastest of five.
pub fn bandwidth() -> f64 {
    let from = vec![1u64; BYTES / 8];
    let mut to = vec![0u64; BYTES / 8];
    let mut copy = || {
        let start = Instant::now();
        to.par_chunks_mut(1 << 17)
            .zip(from.par_chunks(1 << 17))
            .for_each(|(to, from)| to.copy_from_slice(from));
        start.elapsed().as_secs_f64()
    };
    copy();
    let fastest = (0..5).map(|_| copy()).fold(f64::INFINITY, f64::min);
    2.0 * BYTES as f64 / fastest
}

/// Adds to each line, and tells, the share of the bandwidth that our work comes to, when it must read and write
/// so many bytes at least.
pub fn share(lines: &mut [Value], bytes: u64, bandwidth: f64) {
    let seconds = lines.first().and_then(|line| line["ours_s"].as_f64());
    let Some(seconds) = seconds else { return };
    let share = bytes as f64 / seconds / bandwidth;
    println!(
        "  {:.0} MB at least: {:.0} % of {:.1} GB/s",
        bytes as f64 / 1e6,
        100.0 * share,
        bandwidth / 1e9
    );
    for line in lines {
        line["bandwidth_share"] = share.into();
    }
}
