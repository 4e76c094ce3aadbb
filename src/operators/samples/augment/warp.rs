//! Rotation, scale and elastic displacement of a window, read from the volume in one go.

mod elastic;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

pub use elastic::Elastic;

/// The place of a window in a volume, and the size of its voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// The first voxel of the volume along `[D, H, W]`; before it begins where negative.
    pub start: [isize; 3],
    /// The number of voxels along `[D, H, W]`.
    pub size: [usize; 3],
    /// The spacing along `[D, H, W]`, in mm.
    pub spacing_mm: [f64; 3],
}

/// A volume with classes.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'v> {
    /// The size of the volume, `[D, H, W]`.
    pub size: [usize; 3],
    /// The first voxel of the part of it that is at hand.
    pub first: [usize; 3],
    /// The voxels of that part along `[D, H, W]`.
    pub held: [usize; 3],
    /// Intensities `[D, H, W]` of that part.
    pub scan: &'v [f32],
    /// Classes `[D, H, W]` of that part.
    pub labels: &'v [u8],
    /// The intensity beyond the volume; the class there is 0.
    pub outside: f32,
}

/// A movement of what a window shows, around the window's middle.
#[derive(Clone, Debug, PartialEq)]
pub struct Warp {
    /// The matrix from an offset in the window to one in the volume, both in mm along `[D, H, W]`.
    matrix: [[f64; 3]; 3],
    elastic: Option<Elastic>,
}

impl Warp {
    /// Makes a warp in which what is shown turns by `degrees` about the axes D, H and W, in this order, and
    /// grows by `scale`.
    pub fn new(degrees: [f64; 3], scale: f64, elastic: Option<Elastic>) -> Self {
        let [d, h, w] = degrees.map(f64::to_radians);
        let turn = |sin: f64, cos: f64, [a, b]: [usize; 2]| {
            let mut matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            (matrix[a][a], matrix[a][b], matrix[b][a], matrix[b][b]) = (cos, -sin, sin, cos);
            matrix
        };
        let about = |angle: f64, plane| turn(angle.sin(), angle.cos(), plane);
        let forward = times(&about(w, [0, 1]), &times(&about(h, [0, 2]), &about(d, [1, 2])));
        // The way back of a turn is its transpose.
        let matrix = [0, 1, 2].map(|row| [0, 1, 2].map(|column| forward[column][row] / scale));
        Self { matrix, elastic }
    }

    /// Intensities, linear between voxels, and the classes of the nearest ones.
    pub fn read(&self, volume: &Volume<'_>, window: &Window) -> (Vec<f32>, Vec<u8>) {
        let [depth, height, width] = window.size;
        let area = height * width;
        let (mut input, mut label) = (vec![volume.outside; depth * area], vec![0; depth * area]);
        let lattice = self.elastic.as_ref().map(|elastic| elastic.over(window));
        let slices = input.par_chunks_mut(area.max(1)).zip(label.par_chunks_mut(area.max(1)));
        slices.enumerate().for_each(|(d, (input, label))| {
            for h in 0..height {
                let line = lattice.as_ref().map(|lattice| lattice.line([d, h]));
                for w in 0..width {
                    let moved = line.as_ref().map_or([0.0; 3], |line| line.at(w));
                    let place = self.source(window, [d, h, w], moved);
                    if let Some((value, class)) = volume.at(place) {
                        input[h * width + w] = value;
                        label[h * width + w] = class;
                    }
                }
            }
        });
        (input, label)
    }

    /// The box `[low, high]` around what it shows of a box on the slice of a window, both in edges along `[H, W]`; none
    /// where it shows nothing of it. An elastic movement is followed to whole pixels.
    pub fn shown(&self, bounds: [[f64; 2]; 2], window: &Window) -> Option<[[f64; 2]; 2]> {
        let [_, height, width] = window.size;
        let lengths = [height as f64, width as f64];
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        let mut hold = |place: [f64; 2], half: f64| {
            for axis in 0..2 {
                low[axis] = low[axis].min(place[axis] - half);
                high[axis] = high[axis].max(place[axis] + half);
            }
        };
        if let Some(elastic) = &self.elastic {
            let lattice = elastic.over(window);
            for h in 0..height {
                let line = lattice.line([0, h]);
                for w in 0..width {
                    let [_, y, x] = self.source(window, [0, h, w], line.at(w)).map(|place| place + 0.5);
                    let within = |at: f64, axis: usize| (bounds[0][axis]..bounds[1][axis]).contains(&at);
                    if within(y, 0) && within(x, 1) {
                        hold([h as f64 + 0.5, w as f64 + 0.5], 0.5);
                    }
                }
            }
        } else {
            // Within a slice: the lower right part of the matrix, turned round.
            let [[a, b], [c, d]] = [1, 2].map(|row: usize| [self.matrix[row][1], self.matrix[row][2]]);
            let determinant = a * d - b * c;
            let spacing = [window.spacing_mm[1], window.spacing_mm[2]];
            for (y, x) in
                [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(y, x): (usize, usize)| (bounds[y][0], bounds[x][1]))
            {
                let mm = [(y - lengths[0] / 2.0) * spacing[0], (x - lengths[1] / 2.0) * spacing[1]];
                let offset = [(d * mm[0] - b * mm[1]) / determinant, (a * mm[1] - c * mm[0]) / determinant];
                hold([0, 1].map(|axis| offset[axis] / spacing[axis] + lengths[axis] / 2.0), 0.0);
            }
        }
        let cut = |edges: [f64; 2]| [0, 1].map(|axis| edges[axis].clamp(0.0, lengths[axis]));
        let (low, high) = (cut(low), cut(high));
        (low[0] < high[0] && low[1] < high[1]).then_some([low, high])
    }

    /// The part of a volume of this size that a window may show something of: its first voxel, and its voxels along
    /// each axis.
    pub fn reach(&self, size: [usize; 3], window: &Window) -> ([usize; 3], [usize; 3]) {
        let middle = window.size.map(|n| (n as f64 - 1.0) / 2.0);
        let (mut first, mut held) = ([0; 3], [0; 3]);
        for axis in 0..3 {
            // A turn and a scale go farthest in a corner, and a spline no farther than its points.
            let corner =
                (0..3).map(|k| self.matrix[axis][k].abs() * middle[k] * window.spacing_mm[k]).sum::<f64>();
            let moved = self.elastic.as_ref().map_or(0.0, |elastic| elastic.farthest(axis));
            let far = (corner + moved) / window.spacing_mm[axis];
            let centre = window.start[axis] as f64 + middle[axis];
            let last = size[axis].saturating_sub(1) as f64;
            // The range has a neighbour on either side, and one more against the last bits of sums.
            let low = (centre - far - 2.0).floor().clamp(0.0, last);
            let high = (centre + far + 2.0).ceil().clamp(0.0, last);
            (first[axis], held[axis]) = (low as usize, (high - low) as usize + usize::from(size[axis] > 0));
        }
        (first, held)
    }

    /// Returns where in the volume, in voxels, a voxel of the window comes from.
    fn source(&self, window: &Window, voxel: [usize; 3], moved_mm: [f64; 3]) -> [f64; 3] {
        let middle = window.size.map(|n| (n as f64 - 1.0) / 2.0);
        let offset = [0, 1, 2].map(|axis| (voxel[axis] as f64 - middle[axis]) * window.spacing_mm[axis]);
        [0, 1, 2].map(|axis| {
            let [a, b, c] = self.matrix[axis];
            let mm = a * offset[0] + b * offset[1] + c * offset[2] + moved_mm[axis];
            window.start[axis] as f64 + middle[axis] + mm / window.spacing_mm[axis]
        })
    }
}

fn times(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    [0, 1, 2].map(|row| [0, 1, 2].map(|column| (0..3).map(|k| a[row][k] * b[k][column]).sum()))
}

impl Volume<'_> {
    /// The intensity and class at a place in voxels; `None` where it lies in no voxel.
    fn at(&self, place: [f64; 3]) -> Option<(f32, u8)> {
        let (mut low, mut high, mut share, mut near) = ([0; 3], [0; 3], [0.0f32; 3], [0; 3]);
        for axis in 0..3 {
            let (at, last) = (place[axis], self.size[axis] as f64 - 1.0);
            if !(at >= -0.5 && at < last + 0.5) {
                return None;
            }
            let inside = at.clamp(0.0, last);
            low[axis] = inside as usize;
            high[axis] = (low[axis] + 1).min(self.size[axis] - 1);
            share[axis] = (inside - low[axis] as f64) as f32;
            near[axis] = (inside + 0.5) as usize;
        }
        let ([_, height, width], [a, b, c]) = (self.held, self.first);
        let index = |d: usize, h: usize, w: usize| ((d - a) * height + h - b) * width + w - c;
        let row = |d: usize, h: usize| {
            let (a, b) = (self.scan[index(d, h, low[2])], self.scan[index(d, h, high[2])]);
            a + (b - a) * share[2]
        };
        let plane = |d: usize| {
            let (a, b) = (row(d, low[1]), row(d, high[1]));
            a + (b - a) * share[1]
        };
        let (a, b) = (plane(low[0]), plane(high[0]));
        Some((a + (b - a) * share[0], self.labels[index(near[0], near[1], near[2])]))
    }
}

/// A number between two, ends included.
pub fn between(rng: &mut ChaCha8Rng, [low, high]: [f64; 2]) -> f64 {
    if low < high { rng.random_range(low..=high) } else { low }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn whole(size: [usize; 3], spacing_mm: [f64; 3]) -> Window {
        Window { start: [0; 3], size, spacing_mm }
    }

    fn read(warp: &Warp, size: [usize; 3], scan: &[f32], window: &Window) -> (Vec<f32>, Vec<u8>) {
        let labels: Vec<u8> = scan.iter().map(|&value| value as u8).collect();
        let whole = Volume { size, first: [0; 3], held: size, scan, labels: &labels, outside: -1.0 };
        let found = warp.read(&whole, window);
        // The part that it may come to is all that is asked for.
        let (first, held) = warp.reach(size, window);
        let each = (0..held.iter().product::<usize>()).map(|i| {
            let [d, h, w] = [i / (held[1] * held[2]), i / held[2] % held[1], i % held[2]];
            ((d + first[0]) * size[1] + h + first[1]) * size[2] + w + first[2]
        });
        let (scan, labels): (Vec<f32>, Vec<u8>) = each.map(|at| (scan[at], labels[at])).unzip();
        let part = Volume { first, held, scan: &scan, labels: &labels, ..whole };
        assert_eq!(warp.read(&part, window), found);
        found
    }

    #[test]
    fn nothing_moves_where_nothing_is_asked() {
        let scan: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let still = Warp::new([0.0; 3], 1.0, None);
        let (input, label) = read(&still, [3, 4, 5], &scan, &whole([3, 4, 5], [3.0, 0.5, 1.0]));
        assert_eq!(input, scan);
        assert_eq!(label, (0..60).collect::<Vec<u8>>());
        // A window that reaches past the volume.
        let window = Window { start: [-1, 2, 3], size: [2, 2, 3], spacing_mm: [1.0; 3] };
        let (input, label) = read(&still, [3, 4, 5], &scan, &window);
        assert_eq!(input[..6], [-1.0; 6]);
        assert_eq!(input[6..], [13.0, 14.0, -1.0, 18.0, 19.0, -1.0]);
        assert_eq!(label[6..], [13, 14, 0, 18, 19, 0]);
    }

    #[test]
    fn a_quarter_turn_is_a_permutation() {
        let scan: Vec<f32> = (0..27).map(|i| i as f32).collect();
        let at = |d: usize, h: usize, w: usize| scan[(d * 3 + h) * 3 + w];
        for (degrees, from) in [
            ([90.0, 0.0, 0.0], (|d, h, w| [d, w, 2 - h]) as fn(usize, usize, usize) -> [usize; 3]),
            ([0.0, 90.0, 0.0], |d, h, w| [w, h, 2 - d]),
            ([0.0, 0.0, 90.0], |d, h, w| [h, 2 - d, w]),
            ([180.0, 0.0, 0.0], |d, h, w| [d, 2 - h, 2 - w]),
        ] {
            let (input, _) = read(&Warp::new(degrees, 1.0, None), [3; 3], &scan, &whole([3; 3], [2.0; 3]));
            for (index, value) in input.into_iter().enumerate() {
                let [d, h, w] = from(index / 9, index / 3 % 3, index % 3);
                assert!((value - at(d, h, w)).abs() < 1e-4, "{degrees:?} at {index}");
            }
        }
    }

    #[test]
    fn what_is_shown_grows_around_the_middle() {
        let scan: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let (input, label) =
            read(&Warp::new([0.0; 3], 2.0, None), [1, 1, 9], &scan, &whole([1, 1, 9], [5.0, 1.0, 1.0]));
        assert_eq!(input, [2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0]);
        assert_eq!(label, [2, 3, 3, 4, 4, 5, 5, 6, 6]);
        let (input, label) =
            read(&Warp::new([0.0; 3], 0.5, None), [1, 1, 9], &scan, &whole([1, 1, 9], [5.0, 1.0, 1.0]));
        assert_eq!(input, [-1.0, -1.0, 0.0, 2.0, 4.0, 6.0, 8.0, -1.0, -1.0]);
        assert_eq!(label, [0, 0, 0, 2, 4, 6, 8, 0, 0]);
    }

    #[test]
    fn a_turn_is_one_of_millimetres() {
        // 4 mm along H are 2 voxels of 2 mm, or 4 of 1 mm along W.
        let scan: Vec<f32> = (0..81).map(|i| f32::from(i == 22)).collect();
        let turned = Warp::new([90.0, 0.0, 0.0], 1.0, None);
        let (input, _) = read(&turned, [1, 9, 9], &scan, &whole([1, 9, 9], [1.0, 2.0, 1.0]));
        // The middle is (4, 4), and the voxel 2 above it: 4 mm, which come to lie on the left.
        assert!((input[4 * 9] - 1.0).abs() < 1e-5);
    }

    proptest! {
        #[test]
        fn labels_go_with_intensities(
            degrees in prop::array::uniform3(-40.0f64..40.0), scale in 0.6f64..1.6, seed in 0u64..9,
        ) {
            // A ball: where the scan says so for sure, its class says the same.
            let (size, middle) = ([12, 24, 24], [5.5, 11.5, 11.5]);
            let distance = |index: usize| {
                let place = [index / 576, index / 24 % 24, index % 24].map(|i| i as f64);
                let mm = [0, 1, 2].map(|axis| (place[axis] - middle[axis]) * if axis == 0 { 2.0 } else { 1.0 });
                mm.iter().map(|x| x * x).sum::<f64>().sqrt()
            };
            let scan: Vec<f32> = (0..12 * 24 * 24).map(|index| f32::from(u8::from(distance(index) < 6.0))).collect();
            let window = whole(size, [2.0, 1.0, 1.0]);
            let elastic = Elastic::draw(1.0, 8.0, &window, false, &mut ChaCha8Rng::seed_from_u64(seed));
            for elastic in [None, Some(elastic)] {
                let (input, label) = read(&Warp::new(degrees, scale, elastic.clone()), size, &scan, &window);
                let sure = input.iter().zip(&label).filter(|(value, _)| **value == 1.0 || **value <= 0.0);
                for (value, class) in sure {
                    prop_assert_eq!(*value == 1.0, *class == 1);
                }
                if elastic.is_none() {
                    // A ball stays one, of another size: a voxel takes the class of the voxel nearest to
                    // its source, whose centre is at most half a voxel's diagonal (sqrt(1.5) mm) away.
                    let slack = 1.5f64.sqrt() + 1e-9;
                    for (index, class) in label.iter().enumerate() {
                        let r = distance(index) / scale;
                        let (inside, outside) = (r < 6.0 - slack, r > 6.0 + slack);
                        prop_assert!(!inside || *class == 1, "{} mm from the middle is outside", r);
                        prop_assert!(!outside || *class == 0, "{} mm from the middle is inside", r);
                    }
                }
            }
        }
    }
}
