//! Outlines to label maps: even-odd at voxel centres, in index space.

use std::collections::BTreeMap;

use super::read::{Contour, ContourKind, StructureSet};
use crate::planes::{self, Plane};
use crate::{Geometry, LabelMap, Reject};

/// How far a contour may lie from a slice's plane, in slices.
const PLANE_TOLERANCE: f64 = 0.2;

/// Outlines on a grid.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Classes, 0 for background.
    pub labels: LabelMap,
    /// Contours that lie on no slice of the grid.
    pub off_slice: usize,
    /// Contours that bound no area: points, open lines, fewer than three corners.
    pub skipped: usize,
}

/// Draws structures on a grid; `label_of` gives a structure's label by its name, `None` to leave it out.
///
/// Contours of one structure on a slice combine by exclusive or; where labels overlap, the higher wins.
///
/// # Errors
/// A [`Reject`] for a grid whose axes do not span space.
///
/// # Examples
/// ```
/// use tomoflow_connectors::rtstruct::{Contour, ContourKind, Structure, StructureSet, rasterise};
/// use tomoflow_connectors::{Geometry, PatientPoint};
/// let corners = [[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]];
/// let points = corners.map(|[x, y]| PatientPoint([x, y, 0.0])).to_vec();
/// let contour = Contour { kind: ContourKind::Closed, sop_uid: String::new(), points };
/// let square = Structure { name: "square".into(), number: 1, contours: vec![contour] };
/// let geometry = Geometry::axis_aligned([1, 4, 4], [1.0; 3]);
/// let drawn = rasterise(&StructureSet { structures: vec![square] }, &|_| Some(7), &geometry).unwrap();
/// assert_eq!(drawn.labels.voxels().iter().filter(|&&label| label == 7).count(), 4);
/// ```
pub fn rasterise(
    set: &StructureSet,
    label_of: &dyn Fn(&str) -> Option<u16>,
    geometry: &Geometry,
) -> Result<Drawn, Reject> {
    rasterise_between(set, label_of, geometry, &[])
}

/// As [`rasterise`], on a grid with planes between slices, which lie at `heights`
/// ([`planes`](planes::planes)).
///
/// A contour is drawn on the plane or slice that it lies on. A plane between slices without one takes the
/// labels of the nearer slice; halfway, those that both have.
///
/// # Errors
/// A [`Reject`] for a grid whose axes do not span space, or that heights do not fit.
pub fn rasterise_between(
    set: &StructureSet,
    label_of: &dyn Fn(&str) -> Option<u16>,
    geometry: &Geometry,
    heights: &[f64],
) -> Result<Drawn, Reject> {
    let sites = Sites::new(geometry, heights)?;
    let labelled = set.structures.iter().filter_map(|s| label_of(&s.name).map(|label| (label, s)));
    let mut wanted: Vec<_> = labelled.collect();
    // A stable sort: the higher label is drawn later.
    wanted.sort_by_key(|(label, _)| *label);
    let mut drawn = Drawn { labels: LabelMap::zeros(geometry.clone()), off_slice: 0, skipped: 0 };
    let [_, rows, columns] = geometry.size;
    let area = rows * columns;
    let mut beside = vec![0; sites.beside.len() * area];
    for (label, structure) in wanted {
        let mut slices: BTreeMap<usize, Crossings> = BTreeMap::new();
        for contour in &structure.contours {
            if contour.kind == ContourKind::Open || contour.points.len() < 3 {
                drawn.skipped += 1;
                continue;
            }
            match place(contour, geometry, &sites)? {
                Some((site, corners)) => {
                    slices.entry(site).or_insert_with(|| Crossings::new(rows)).add(&corners);
                }
                None => drawn.off_slice += 1,
            }
        }
        for (site, crossings) in slices {
            let (voxels, place) = match site.checked_sub(sites.depth) {
                Some(place) => (&mut beside[..], place),
                None => (drawn.labels.voxels_mut(), site),
            };
            if let Some(voxels) = voxels.get_mut(place * area..(place + 1) * area) {
                crossings.fill(voxels, columns, label);
            }
        }
    }
    sites.fill(&mut drawn.labels, &beside);
    Ok(drawn)
}

/// What contours may lie on: the planes of the grid, then the slices that lie between them.
struct Sites {
    depth: usize,
    planes: Vec<Plane>,
    slices: usize,
    /// Slices between planes, by their places in the list, with their heights.
    beside: Vec<(usize, f64)>,
}

impl Sites {
    fn new(geometry: &Geometry, heights: &[f64]) -> Result<Self, Reject> {
        let depth = geometry.size[0];
        let planes = planes::planes(depth, heights).ok_or_else(|| planes::unfit(geometry, heights))?;
        let places = planes::of_slices(&planes, heights.len());
        let of = |((slice, place), &height): ((usize, Option<usize>), &f64)| {
            place.is_none().then_some((slice, height))
        };
        let beside = places.into_iter().enumerate().zip(heights).filter_map(of).collect();
        Ok(Self { depth, planes, slices: heights.len(), beside })
    }

    /// The site nearest to a height along the grid, and its own.
    fn nearest(&self, height: f64) -> Option<(usize, f64)> {
        let plane = height.round();
        let on_grid = plane >= 0.0 && plane < self.depth as f64;
        let plane = on_grid.then_some((plane as usize, plane));
        let beside = (self.depth..).zip(&self.beside).map(|(site, &(_, height))| (site, height));
        let away = |(_, of): &(usize, f64)| (of - height).abs();
        plane.into_iter().chain(beside).min_by(|a, b| away(a).total_cmp(&away(b)))
    }

    /// Labels the planes between slices.
    fn fill(&self, labels: &mut LabelMap, beside: &[u16]) {
        if self.slices == 0 {
            return;
        }
        let area = (labels.size()[1] * labels.size()[2]).max(1);
        let slices = self.beside.iter().zip(beside.chunks_exact(area));
        let beside = slices.map(|(&(slice, _), labels)| (slice, labels.to_vec())).collect();
        planes::fill_between(labels, &self.planes, self.slices, &beside);
    }
}

/// A site, and a contour's corners on it as (row, column).
type Placed = (usize, Vec<[f64; 2]>);

/// Where a contour lies; `None` when it lies on no slice.
fn place(contour: &Contour, geometry: &Geometry, sites: &Sites) -> Result<Option<Placed>, Reject> {
    let mut corners = Vec::with_capacity(contour.points.len());
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for &point in &contour.points {
        let Some(index) = geometry.to_voxel(point) else {
            let message = "the axes of the grid do not span space";
            return Err(Reject::new("BAD_GEOMETRY", message, "the scan's spacing or orientation is broken"));
        };
        let [slice, row, column] = index.0;
        if !(slice.is_finite() && row.is_finite() && column.is_finite()) {
            return Ok(None);
        }
        (lowest, highest) = (lowest.min(slice), highest.max(slice));
        corners.push([row, column]);
    }
    let Some((site, height)) = sites.nearest((lowest + highest) / 2.0) else { return Ok(None) };
    let away = (lowest - height).abs().max((highest - height).abs());
    // A little more than the tolerance, so that rounded decimal strings do not decide.
    Ok((away <= PLANE_TOLERANCE + 1e-6).then_some((site, corners)))
}

/// Where the edges of contours cross the lines of a slice through voxel centres, as columns, by row.
struct Crossings(Vec<Vec<f64>>);

impl Crossings {
    fn new(rows: usize) -> Self {
        Self(vec![Vec::new(); rows])
    }

    fn add(&mut self, corners: &[[f64; 2]]) {
        let next = corners.iter().skip(1).chain(corners.first());
        for (&[row_a, column_a], &[row_b, column_b]) in corners.iter().zip(next) {
            let (top, bottom) = (row_a.min(row_b), row_a.max(row_b));
            // Half open: a corner on a line belongs to the edge below it, so that none counts twice.
            let first = top.ceil().max(0.0) as usize;
            let end = bottom.ceil().clamp(0.0, self.0.len() as f64) as usize;
            let slope = (column_b - column_a) / (row_b - row_a);
            for (row, line) in self.0.iter_mut().enumerate().take(end).skip(first) {
                line.push(column_a + (row as f64 - row_a) * slope);
            }
        }
    }

    /// Labels the voxels whose centres lie inside an odd number of contours.
    fn fill(self, voxels: &mut [u16], columns: usize, label: u16) {
        for (mut line, voxels) in self.0.into_iter().zip(voxels.chunks_exact_mut(columns.max(1))) {
            line.sort_by(f64::total_cmp);
            for pair in line.as_chunks::<2>().0 {
                let [from, to] = pair.map(|column| column.ceil().clamp(0.0, columns as f64) as usize);
                if let Some(run) = voxels.get_mut(from..to) {
                    run.fill(label);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PatientPoint;
    use crate::rtstruct::Structure;

    fn square(from: f64, to: f64, z: f64) -> Contour {
        let corners = [[from, from], [to, from], [to, to], [from, to]];
        let points = corners.map(|[x, y]| PatientPoint([x, y, z])).to_vec();
        Contour { kind: ContourKind::Closed, sop_uid: String::new(), points }
    }

    fn set(structures: &[(&str, Vec<Contour>)]) -> StructureSet {
        let structure = |(name, contours): &(&str, Vec<Contour>)| Structure {
            name: (*name).to_owned(),
            number: 1,
            contours: contours.clone(),
        };
        StructureSet { structures: structures.iter().map(structure).collect() }
    }

    fn draw(set: &StructureSet) -> Drawn {
        let geometry = Geometry::axis_aligned([3, 8, 8], [2.0, 1.0, 1.0]);
        let label = |name: &str| match name {
            "a" => Some(1),
            "b" => Some(2),
            _ => None,
        };
        rasterise(set, &label, &geometry).unwrap()
    }

    fn count(drawn: &Drawn, slice: usize, label: u16) -> usize {
        drawn.labels.slice(slice).iter().filter(|&&found| found == label).count()
    }

    #[test]
    fn a_square_covers_the_centres_inside() {
        let drawn = draw(&set(&[("a", vec![square(1.5, 4.5, 2.0)])]));
        assert_eq!((count(&drawn, 1, 1), count(&drawn, 0, 1)), (9, 0));
        assert_eq!(drawn.labels.slice(1)[2 * 8 + 2], 1);
    }

    #[test]
    fn a_square_inside_is_a_hole_and_the_higher_label_wins() {
        let ring = vec![square(0.5, 5.5, 0.0), square(1.5, 4.5, 0.0)];
        let drawn = draw(&set(&[("b", vec![square(0.5, 1.5, 0.0)]), ("a", ring)]));
        assert_eq!(count(&drawn, 0, 1), 25 - 9 - 1);
        assert_eq!(count(&drawn, 0, 2), 1);
    }

    #[test]
    fn contours_off_slice_and_without_area_are_counted() {
        let mut point = square(1.5, 2.5, 0.0);
        point.kind = ContourKind::Open;
        let mut line = square(1.5, 2.5, 0.0);
        line.points.truncate(2);
        let contours =
            vec![square(1.5, 4.5, 1.0), square(1.5, 4.5, 2.5), square(1.5, 4.5, 99.0), point, line];
        let drawn = draw(&set(&[("a", contours), ("other", vec![square(1.5, 4.5, 1.0)])]));
        assert_eq!((drawn.off_slice, drawn.skipped), (3, 2));
        assert!(drawn.labels.voxels().iter().all(|&label| label == 0));
        let near = draw(&set(&[("a", vec![square(1.5, 4.5, 2.4)])]));
        assert_eq!(count(&near, 1, 1), 9);
    }

    #[test]
    fn shared_edges_and_the_border_are_counted_once() {
        let halves = draw(&set(&[("a", vec![square(1.0, 3.0, 0.0)])]));
        assert_eq!(count(&halves, 0, 1), 4);
        let beyond = draw(&set(&[("a", vec![square(-1e300, 1e300, 0.0)])]));
        assert_eq!(count(&beyond, 0, 1), 64);
    }

    #[test]
    fn between_planes_contours_lie_on_slices() {
        let geometry = Geometry::axis_aligned([4, 8, 8], [2.0, 1.0, 1.0]);
        let heights = [0.0, 0.7, 1.5, 3.0];
        let at = |heights: &[f64]| heights.iter().map(|h| square(1.5, 4.5, 2.0 * h)).collect::<Vec<_>>();
        let draw = |contours| {
            let set = set(&[("a", contours)]);
            let drawn = rasterise_between(&set, &|_| Some(1), &geometry, &heights).unwrap();
            ([0, 1, 2, 3].map(|slice| count(&drawn, slice, 1)), drawn.off_slice)
        };
        // Plane 1 lies nearer to the slice at 0.7, plane 2 to that at 1.5.
        assert_eq!(draw(at(&[0.7])), ([0, 9, 0, 0], 0));
        assert_eq!(draw(at(&[1.5])), ([0, 0, 9, 0], 0));
        assert_eq!(draw(at(&heights)), ([9; 4], 0));
        // What was drawn on a plane itself stays as it was drawn.
        let mut both = at(&[0.7, 1.5]);
        both.push(square(1.5, 2.5, 2.0));
        assert_eq!(draw(both), ([0, 1, 9, 0], 0));
        assert_eq!(draw(at(&[0.35, -0.3, 3.3])), ([0; 4], 3));
        assert_eq!(
            rasterise_between(&set(&[]), &|_| None, &geometry, &[0.0, 1.0]).unwrap_err().code,
            "BAD_GEOMETRY"
        );
    }

    #[test]
    fn a_flat_grid_is_refused() {
        let geometry = Geometry::axis_aligned([1, 2, 2], [0.0, 1.0, 1.0]);
        let set = set(&[("a", vec![square(0.5, 1.5, 0.0)])]);
        let reject = rasterise(&set, &|_| Some(1), &geometry).unwrap_err();
        assert_eq!(reject.code, "BAD_GEOMETRY");
    }
}
