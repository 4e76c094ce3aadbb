//! Percentiles of millions of voxels, exactly and without sorting: their bits are counted, in two passes at most.

use rayon::prelude::*;

use super::values::Foreground;

/// Bits that the second pass counts.
const LOWER_BITS: u32 = 12;
/// Values of these bits.
const LOWER: usize = 1 << LOWER_BITS;
/// Values of all others, which the first pass counts: integers of 12 bits differ in them already.
const UPPER: usize = 1 << (32 - LOWER_BITS);
/// Fewer voxels than this are not worth another thread and its tables.
const LEAST: usize = 1 << 18;
/// A count of 32 bits holds as many.
const MOST: usize = 1 << 30;

/// The values below which `percents` (0 to 100) of the foreground's finite voxels lie, interpolated linearly
/// between neighbours as in NumPy. NaN and infinities take no part; `None` when nothing is left.
///
/// Floats are brought to integers of the same order. A first pass counts their upper 20 bits, a second one the lower 12
/// of those that share theirs with a value sought, so that the time depends neither on how voxels are spread nor
/// on how many percentiles are asked for. Where all voxels are integers of 12 bits, as a scanner stores them, the
/// first pass says all.
pub fn percentiles(voxels: &[f32], foreground: Foreground, percents: &[f64]) -> Option<Vec<f64>> {
    match foreground {
        Foreground::None => counted(voxels, percents, |_| true),
        Foreground::Nonzero => counted(voxels, percents, |value| value != 0.0),
        Foreground::Above(least) => counted(voxels, percents, move |value| value > least),
    }
}

fn counted(voxels: &[f32], percents: &[f64], holds: impl Fn(f32) -> bool + Copy + Sync) -> Option<Vec<f64>> {
    let (upper, lower_bits) = upper(voxels, holds);
    let total: u64 = upper.iter().map(|count| u64::from(*count)).sum();
    let last = total.checked_sub(1)?;
    let places: Vec<f64> = percents.iter().map(|percent| last as f64 * (percent / 100.0)).collect();
    let mut ranks: Vec<u64> = places
        .iter()
        .flat_map(|place| [place.floor() as u64, place.ceil() as u64])
        .map(|rank| rank.min(last))
        .collect();
    ranks.sort_unstable();
    ranks.dedup();
    let (sought, parts) = sought(&upper, &ranks);
    let values = if lower_bits == 0 {
        sought.iter().map(|place| unordered(whole(place.upper))).collect()
    } else {
        values_at(voxels, holds, &sought, &parts)
    };
    let value = |rank: f64| {
        let place = ranks.partition_point(|known| *known < rank as u64);
        values.get(place.min(values.len() - 1)).copied().unwrap_or_default()
    };
    let between = |place: &f64| {
        let (low, high) = (value(place.floor()), value(place.ceil()));
        low + (high - low) * place.fract()
    };
    Some(places.iter().map(between).collect())
}

/// How often each value of the upper bits comes among finite voxels, and which of the lower bits any voxel has.
fn upper(voxels: &[f32], holds: impl Fn(f32) -> bool + Sync) -> (Vec<u32>, u32) {
    let (mut counts, lower_bits) = count(voxels, UPPER, |value, counts| {
        if let Some(count) = counts.get_mut((ordered(value) >> LOWER_BITS) as usize) {
            *count += u32::from(holds(value));
        }
        value.to_bits() % LOWER as u32
    });
    // Infinities share theirs with NaN alone, and NaN have those beyond.
    let [least, most] = [f32::NEG_INFINITY, f32::INFINITY].map(|end| (ordered(end) >> LOWER_BITS) as usize);
    counts[..=least].fill(0);
    counts[most..].fill(0);
    (counts, lower_bits)
}

/// The place of a rank among values that were counted by their upper bits.
struct RankPlace {
    /// Its upper bits.
    upper: usize,
    /// Their place among those that are sought.
    part: usize,
    /// Its rank among voxels that share them.
    rank: u64,
}

/// The place of each rank, and the upper bits that are sought; ranks ascend, and all are below the sum of `counts`.
fn sought(counts: &[u32], ranks: &[u64]) -> (Vec<RankPlace>, Vec<usize>) {
    let (mut places, mut parts) = (Vec::with_capacity(ranks.len()), Vec::new());
    let (mut upper, mut before) = (0, 0);
    for &rank in ranks {
        while before + u64::from(counts[upper]) <= rank {
            before += u64::from(counts[upper]);
            upper += 1;
        }
        if parts.last() != Some(&upper) {
            parts.push(upper);
        }
        places.push(RankPlace { upper, part: parts.len() - 1, rank: rank - before });
    }
    (places, parts)
}

/// The voxels at these places.
fn values_at(
    voxels: &[f32],
    holds: impl Fn(f32) -> bool + Sync,
    places: &[RankPlace],
    parts: &[usize],
) -> Vec<f64> {
    // 0 for upper bits that nobody seeks, else the number of their table, from 1 on.
    let mut tables = vec![0_u16; UPPER];
    for (table, upper) in parts.iter().enumerate() {
        tables[*upper] = table as u16 + 1;
    }
    let (lower, _) = count(voxels, LOWER * parts.len(), |value, counts| {
        let bits = ordered(value) as usize;
        if let Some(table) = tables[bits >> LOWER_BITS].checked_sub(1) {
            counts[usize::from(table) * LOWER + bits % LOWER] += u32::from(holds(value));
        }
        0
    });
    let find = |place: &RankPlace| {
        let mut rank = place.rank;
        let low = lower[place.part * LOWER..][..LOWER].iter().position(|count| {
            let count = u64::from(*count);
            let here = rank < count;
            rank = rank.saturating_sub(count);
            here
        });
        unordered((place.upper << LOWER_BITS | low.unwrap_or(LOWER - 1)) as u32)
    };
    places.iter().map(find).collect()
}

/// Counts with a table for each thread; and all that `add` gives, joined bit by bit.
fn count(voxels: &[f32], len: usize, add: impl Fn(f32, &mut [u32]) -> u32 + Sync) -> (Vec<u32>, u32) {
    let part = voxels.len().div_ceil(rayon::current_num_threads()).clamp(LEAST, MOST);
    let of_part = |voxels: &[f32]| {
        // The memory is not touched before it is counted in: most values never come.
        let mut counts = vec![0; len];
        let bits = voxels.iter().fold(0, |bits, value| bits | add(*value, &mut counts));
        (counts, bits)
    };
    let parts: Vec<(Vec<u32>, u32)> = voxels.par_chunks(part).map(of_part).collect();
    let mut parts = parts.into_iter();
    let (mut sums, mut joined) = parts.next().unwrap_or_else(|| (vec![0; len], 0));
    for (counts, bits) in parts {
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        joined |= bits;
    }
    (sums, joined)
}

/// An integer for each float, in the order of the floats; 0 and −0 are neighbours.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    bits ^ (((bits as i32 >> 31) as u32) | 1 << 31)
}

fn unordered(bits: u32) -> f64 {
    f64::from(f32::from_bits(if bits >> 31 == 1 { bits ^ 1 << 31 } else { !bits }))
}

/// The ordered bits of the float with these upper bits whose own lower ones are 0: a negative one's are turned.
fn whole(upper: usize) -> u32 {
    let bits = (upper << LOWER_BITS) as u32;
    if bits >> 31 == 1 { bits } else { bits | (LOWER as u32 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The percentiles by sorting.
    fn sorted(voxels: &[f32], foreground: Foreground, percents: &[f64]) -> Option<Vec<f64>> {
        let mut kept: Vec<f64> = voxels
            .iter()
            .filter(|value| value.is_finite() && foreground.holds(**value))
            .map(|value| f64::from(*value))
            .collect();
        kept.sort_by(f64::total_cmp);
        let last = kept.len().checked_sub(1)?;
        let at = |percent: &f64| {
            let place = last as f64 * (percent / 100.0);
            let (low, high) = (kept[place.floor() as usize], kept[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Some(percents.iter().map(at).collect())
    }

    #[test]
    fn percentiles_as_numpy_gives_them() {
        // numpy.percentile([-3.5, 1, 2, 10, 1e30], [0, 10, 25, 50, 62.5, 100])
        let found = percentiles(
            &[2.0, 1e30, -3.5, 10.0, 1.0],
            Foreground::None,
            &[0.0, 10.0, 25.0, 50.0, 62.5, 100.0],
        );
        assert_eq!(found.unwrap(), [-3.5, -1.7, 1.0, 2.0, 6.0, f64::from(1e30_f32)]);
        assert_eq!(percentiles(&[4.0], Foreground::None, &[0.5, 99.5]).unwrap(), [4.0, 4.0]);
    }

    #[test]
    fn nothing_has_no_percentile() {
        let odd = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(percentiles(&odd, Foreground::None, &[50.0]), None);
        assert_eq!(percentiles(&[], Foreground::None, &[50.0]), None);
        assert_eq!(percentiles(&[0.0, -0.0], Foreground::Nonzero, &[50.0]), None);
        assert_eq!(percentiles(&[1.0], Foreground::Above(1.0), &[50.0]), None);
        let ends = [f32::MIN, f32::MAX];
        assert_eq!(percentiles(&ends, Foreground::None, &[0.0, 100.0]).unwrap(), ends.map(f64::from));
    }

    #[test]
    fn many_parts_give_one_answer() {
        let voxels: Vec<f32> =
            (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) % 4096) as f32).collect();
        let percents = [0.0, 0.5, 33.3, 50.0, 99.5, 100.0];
        let expected = sorted(&voxels, Foreground::Nonzero, &percents);
        assert_eq!(percentiles(&voxels, Foreground::Nonzero, &percents), expected);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| percentiles(&voxels, Foreground::Nonzero, &percents)), expected);
    }

    fn any_value() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<u32>().prop_map(f32::from_bits),
            any::<i16>().prop_map(f32::from),
            (-3..4_i8).prop_map(f32::from),
            (-1000.0..1000.0_f32),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(-0.0),
        ]
    }

    fn any_foreground() -> impl Strategy<Value = Foreground> {
        prop_oneof![
            Just(Foreground::None),
            Just(Foreground::Nonzero),
            (-10.0..10.0_f32).prop_map(Foreground::Above)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn integers_as_by_sorting(
            voxels in proptest::collection::vec(-4096..4096_i16, 0..60),
            foreground in any_foreground(),
            percents in proptest::collection::vec(0.0..=100.0_f64, 1..6),
        ) {
            let voxels: Vec<f32> = voxels.into_iter().map(f32::from).collect();
            let expected = sorted(&voxels, foreground, &percents);
            prop_assert_eq!(percentiles(&voxels, foreground, &percents), expected);
        }

        #[test]
        fn as_by_sorting(
            voxels in proptest::collection::vec(any_value(), 0..60),
            foreground in any_foreground(),
            percents in proptest::collection::vec(0.0..=100.0_f64, 1..6),
        ) {
            let expected = sorted(&voxels, foreground, &percents);
            prop_assert_eq!(percentiles(&voxels, foreground, &percents), expected);
        }
    }
}
