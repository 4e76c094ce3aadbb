//! Grids whose voxels are voxels of another grid as well: some of its slices, or all of them.

use tomoflow_connectors::{Geometry, Reject, VoxelIndex};

/// The farthest that a voxel may lie from the one of the other grid that it is, in voxels of that grid: rounded decimals of
/// two headers come to less.
const APART: f64 = 0.1;

/// The places of a grid's voxels among those of another one, which has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The number of voxels along the own axes.
    size: [usize; 3],
    /// The place of the first voxel in the other grid's memory.
    first: i64,
    /// The way to the next voxel along each of the own axes, in voxels of the other grid's memory.
    steps: [i64; 3],
    /// Whether both have the same voxels.
    whole: bool,
}

impl Within {
    /// Returns where the voxels of `own` lie among those of `grid`; `None` where one of them is none of these, or lies
    /// beside the grid. Axes may be exchanged and turned round.
    pub fn of(own: &Geometry, grid: &Geometry) -> Option<Self> {
        let at = |index: [f64; 3]| grid.to_voxel(own.to_patient(VoxelIndex(index))).map(|place| place.0);
        let start = at([0.0; 3])?;
        let first = [whole(start[0])?, whole(start[1])?, whole(start[2])?];
        let inside = |place: [i64; 3]| (0..3).all(|axis| (0..grid.size[axis] as i64).contains(&place[axis]));
        if !inside(first) {
            return None;
        }
        let strides = [(grid.size[1] * grid.size[2]) as i64, grid.size[2] as i64, 1];
        let (mut steps, mut taken, mut ends) = ([0; 3], [false; 3], first);
        for axis in 0..3 {
            let last = own.size[axis].checked_sub(1)?;
            if last == 0 {
                continue;
            }
            let mut end = [0.0; 3];
            end[axis] = last as f64;
            let end = at(end)?;
            let mut along = None;
            for other in 0..3 {
                match whole(end[other] - start[other])? {
                    0 => {}
                    way if way.unsigned_abs() == last as u64 && along.is_none() && !taken[other] => {
                        along = Some((other, way.signum()));
                        ends[other] += way;
                    }
                    _ => return None,
                }
            }
            let (other, sign) = along?;
            taken[other] = true;
            steps[axis] = sign * strides[other];
        }
        if !inside(ends) {
            return None;
        }
        let start = (0..3).map(|axis| first[axis] * strides[axis]).sum();
        Some(Self { size: own.size, first: start, steps, whole: own.voxels() == grid.voxels() })
    }

    /// The refusal of labels whose voxels are not those of a scan.
    pub fn misfit(labels: &Geometry, scan: &Geometry) -> Reject {
        let said = |grid: &Geometry| {
            let spacing = grid.spacing_mm().map(|mm| (mm * 1e3).round() / 1e3);
            format!("{:?} voxels of {spacing:?} mm", grid.size)
        };
        let message = format!(
            "labels whose voxels are the scan's own expected, labels on another grid found: {}, where the scan has {}",
            said(labels),
            said(scan)
        );
        let hint = "write the labels on the scan's own grid: such labels are drawn onto no other";
        Reject::new("LABEL_GRID", message, hint)
    }

    /// Whether the other grid has no voxel more.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Writes the values of the own grid where they lie in the other one.
    pub fn put<T: Copy>(&self, values: &[T], into: &mut [T]) {
        let [_, rows, columns] = self.size;
        let [by_slice, by_row, by_column] = self.steps;
        for (line, values) in values.chunks(columns.max(1)).enumerate() {
            let (slice, row) = (line / rows.max(1), line % rows.max(1));
            let start = self.first + slice as i64 * by_slice + row as i64 * by_row;
            for (column, value) in (0..).zip(values) {
                let place = usize::try_from(start + column * by_column).ok();
                if let Some(there) = place.and_then(|place| into.get_mut(place)) {
                    *there = *value;
                }
            }
        }
    }
}

/// The whole number that a place is nearly.
fn whole(place: f64) -> Option<i64> {
    let near = place.round();
    ((place - near).abs() <= APART).then_some(near as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Geometry {
        Geometry { origin_mm: [10.0, -4.0, 7.0], ..Geometry::axis_aligned([4, 2, 3], [2.5, 0.5, 0.7]) }
    }

    /// A grid of some slices of [`grid`].
    fn slices(first: usize, count: usize) -> Geometry {
        let whole = grid();
        let origin_mm = whole.to_patient(VoxelIndex([first as f64, 0.0, 0.0])).0;
        Geometry { size: [count, 2, 3], origin_mm, ..whole }
    }

    fn put(own: &Geometry) -> Vec<u16> {
        let (mut into, values) = (vec![0; 24], (1..=own.voxels() as u16).collect::<Vec<_>>());
        Within::of(own, &grid()).unwrap().put(&values, &mut into);
        into
    }

    #[test]
    fn the_same_grid_and_some_of_its_slices_lie_within() {
        assert_eq!(put(&grid()), (1..=24).collect::<Vec<u16>>());
        assert!(Within::of(&grid(), &grid()).unwrap().is_whole());
        let two = slices(1, 2);
        let expected = [vec![0; 6], (1..=12).collect::<Vec<u16>>(), vec![0; 6]].concat();
        assert_eq!(put(&two), expected);
        assert!(!Within::of(&two, &grid()).unwrap().is_whole());
        // One slice, whatever it says of the next.
        let thick =
            Geometry { steps_mm: [[0.0, 0.0, 9.0], [0.0, 0.5, 0.0], [0.7, 0.0, 0.0]], ..slices(3, 1) };
        assert_eq!(put(&thick), [vec![0; 18], (1..=6).collect::<Vec<u16>>()].concat());
        // Decimals of a header are rounded.
        let rounded = Geometry { origin_mm: [10.0002, -4.0001, 7.0003], ..grid() };
        assert_eq!(put(&rounded), (1..=24).collect::<Vec<u16>>());
    }

    #[test]
    fn turned_axes_lie_within() {
        let whole = grid();
        // From the last slice to the first.
        let down = Geometry {
            origin_mm: whole.to_patient(VoxelIndex([3.0, 0.0, 0.0])).0,
            steps_mm: [[0.0, 0.0, -2.5], whole.steps_mm[1], whole.steps_mm[2]],
            ..grid()
        };
        let expected = [19..=24, 13..=18, 7..=12, 1..=6].map(|slice| slice.collect::<Vec<u16>>()).concat();
        assert_eq!(put(&down), expected);
        // Rows for columns.
        let [d, h, w] = whole.steps_mm;
        let across = Geometry { size: [4, 3, 2], steps_mm: [d, w, h], ..grid() };
        assert_eq!(put(&across)[..6], [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn any_other_grid_does_not() {
        let lies = |own: &Geometry| Within::of(own, &grid()).is_some();
        let [d, h, w] = grid().steps_mm;
        assert!(!lies(&slices(2, 3)), "beyond the last slice");
        assert!(!lies(&Geometry { origin_mm: [10.0, -4.0, 8.0], ..slices(0, 2) }), "between slices");
        assert!(
            !lies(&Geometry { steps_mm: [d.map(|mm| 2.0 * mm), h, w], ..slices(0, 2) }),
            "every second slice"
        );
        assert!(!lies(&Geometry { steps_mm: [d, h, w.map(|mm| mm / 2.0)], ..grid() }), "finer columns");
        assert!(!lies(&Geometry { size: [4, 2, 4], ..grid() }), "more columns");
        assert!(!lies(&Geometry { steps_mm: [[0.0; 3]; 3], ..grid() }), "no directions");
        assert!(!lies(&Geometry { origin_mm: [f64::NAN; 3], ..grid() }), "no place");
        let flat = Geometry { steps_mm: [[0.0; 3], h, w], ..grid() };
        assert!(Within::of(&grid(), &flat).is_none());
    }
}
