//! Voxels that only pad a scan, so that none of their values enters what is computed from others.

/// The values of a volume with the nearest of the others in the place of those that pad it: along rows, then, where a
/// row has no other, from the nearest row of its slice, and from the nearest slice. Of two as near the one before counts.
pub fn filled(values: &[f32], padded: &[u16], size: [usize; 3]) -> Vec<f32> {
    let mut values = values.to_vec();
    let mut known: Vec<bool> = padded.iter().map(|padded| *padded == 0).collect();
    let strides = [size[1] * size[2], size[2], 1];
    for axis in [2, 1, 0] {
        for start in starts(size, strides, axis) {
            spread(&mut values, &mut known, start, strides[axis], size[axis]);
        }
    }
    values
}

/// The voxels at which the lines along an axis begin.
fn starts(size: [usize; 3], strides: [usize; 3], axis: usize) -> impl Iterator<Item = usize> {
    let [first, second] = [[1, 2], [0, 2], [0, 1]][axis];
    (0..size[first])
        .flat_map(move |a| (0..size[second]).map(move |b| a * strides[first] + b * strides[second]))
}

/// Fills a line from what is known of it.
fn spread(values: &mut [f32], known: &mut [bool], start: usize, stride: usize, length: usize) {
    let at = |place: usize| start + place * stride;
    let places: Vec<usize> = (0..length).filter(|place| known[at(*place)]).collect();
    if places.is_empty() || places.len() == length {
        return;
    }
    let mut next = 0;
    for place in 0..length {
        while places.get(next).is_some_and(|known| *known < place) {
            next += 1;
        }
        let before = next.checked_sub(1).and_then(|last| places.get(last));
        let nearest = match (before, places.get(next)) {
            (Some(before), Some(after)) if place - before <= after - place => *before,
            (_, Some(after)) => *after,
            (Some(before), None) => *before,
            (None, None) => place,
        };
        values[at(place)] = values[at(nearest)];
    }
    (0..length).for_each(|place| known[at(place)] = true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_takes_the_place_of_padding() {
        let found = filled(&[9.0, 1.0, 9.0, 9.0, 4.0, 9.0], &[1, 0, 1, 1, 0, 1], [1, 1, 6]);
        assert_eq!(found, [1.0, 1.0, 1.0, 4.0, 4.0, 4.0]);
        // Of two voxels that are as near, the one before counts.
        assert_eq!(filled(&[1.0, 9.0, 3.0], &[0, 1, 0], [1, 1, 3]), [1.0, 1.0, 3.0]);
    }

    #[test]
    fn rows_and_slices_without_any_take_those_of_their_neighbours() {
        let (values, padded) = ([1.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0], [0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(filled(&values, &padded, [2, 2, 2]), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        assert_eq!(filled(&[9.0; 3], &[1; 3], [3, 1, 1]), [9.0; 3]);
    }
}
