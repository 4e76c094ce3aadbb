//! Drawing of outlines as label maps: even-odd at voxel centres, in index space.

mod area;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use super::kind::ContourKind;
use super::left_out::LeftOut;
use super::read::{Contour, Shared, Structure, StructureSet};
use crate::planes::{self, Plane};
use crate::{Digest, Geometry, LabelMap, Overlap, Reject};

/// The most that a contour may lie from a slice's plane, in slices.
const PLANE_TOLERANCE: f64 = 0.2;
/// The most that contours of one plane may lie from each other, in slices: what exports round, and no more.
const SAME_PLANE: f64 = 0.05;

/// Outlines on a grid.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The classes of the voxels, 0 for background.
    pub labels: LabelMap,
    /// The number of contours that lie on no slice of the grid.
    pub off_slice: usize,
    /// The number of contours that bound no area: points, open lines, fewer than three corners, unknown
    /// types.
    pub skipped: usize,
    /// The fate of the contours of each structure that was asked for, in the order of their labels.
    pub structures: Vec<LeftOut>,
    /// The voxels that labels share.
    pub over: Overlap,
}

impl Drawn {
    /// The refusals of what was left out, by name; none when all was drawn.
    pub fn told(&self) -> Vec<Reject> {
        self.structures.iter().flat_map(LeftOut::told).collect()
    }

    /// The reason why nothing at all was drawn of a label that the file has contours for, if so: an empty
    /// label map would say that nothing is there.
    pub fn nothing(&self) -> Option<Reject> {
        let empty = |label| self.structures.iter().filter(|one| one.label == label).all(|one| one.drawn == 0);
        let left_out = self.structures.iter().find(|one| one.all() && empty(one.label))?;
        left_out.told().into_iter().find(|told| told.code != "ROI_NUMBER_REPEATED")
    }
}

/// Draws structures on a grid; `label_of` gives a structure's label by its name, `None` to leave it out.
///
/// Contours of one structure in a plane combine by exclusive or, so that one within another is a hole. One that is
/// there twice is drawn once, and of several planes at one slice each is drawn, as a program draws them that shows the
/// slice. Where labels overlap, the higher wins.
///
/// # Errors
/// A [`Reject`] for a grid whose axes do not span space, and `ROI_NUMBER_REPEATED` for a structure that was asked
/// for and whose contours cannot be told from another's.
///
/// # Examples
/// ```
/// use tomoflow_connectors::rtstruct::{Contour, ContourKind, Structure, StructureSet, rasterise};
/// use tomoflow_connectors::{Geometry, PatientPoint};
/// let corners = [[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]];
/// let points = corners.map(|[x, y]| PatientPoint([x, y, 0.0])).to_vec();
/// let contour = Contour { kind: ContourKind::Closed, sop_uid: String::new(), points };
/// let square = Structure { name: "square".into(), number: 1, contours: vec![contour], ..Structure::default() };
/// let geometry = Geometry::axis_aligned([1, 4, 4], [1.0; 3]);
/// let set = StructureSet { structures: vec![square], ..StructureSet::default() };
/// let drawn = rasterise(&set, &|_| Some(7), &geometry).unwrap();
/// assert_eq!(drawn.labels.voxels().iter().filter(|&&label| label == 7).count(), 4);
/// ```
pub fn rasterise(
    set: &StructureSet,
    label_of: &dyn Fn(&str) -> Option<u16>,
    geometry: &Geometry,
) -> Result<Drawn, Reject> {
    rasterise_between(set, label_of, geometry, &[])
}

/// Draws structures as [`rasterise`], on a grid with planes between slices, which lie at `heights`
/// ([`planes`](planes::planes)).
///
/// A contour is drawn on the plane or slice that it lies on. A plane between slices without one takes the
/// labels of the nearer slice; halfway, those that both have.
///
/// # Errors
/// The errors of [`rasterise`], and one for a grid that heights do not fit.
pub fn rasterise_between(
    set: &StructureSet,
    label_of: &dyn Fn(&str) -> Option<u16>,
    geometry: &Geometry,
    heights: &[f64],
) -> Result<Drawn, Reject> {
    rasterise_over(set, label_of, geometry, heights, Overlap::default())
}

/// Draws structures as [`rasterise_between`], where some labels may share voxels: `over` says which.
///
/// # Errors
/// The errors of [`rasterise_between`].
pub fn rasterise_over(
    set: &StructureSet,
    label_of: &dyn Fn(&str) -> Option<u16>,
    geometry: &Geometry,
    heights: &[f64],
    mut over: Overlap,
) -> Result<Drawn, Reject> {
    let sites = Sites::new(geometry, heights)?;
    let labelled = set.structures.iter().filter_map(|s| label_of(&s.name).map(|label| (label, s)));
    let mut wanted: Vec<_> = labelled.collect();
    // The sort is stable: the higher label is drawn later.
    wanted.sort_by_key(|(label, _)| *label);
    if let Some((_, structure)) = wanted.iter().find(|(_, one)| one.shared == Shared::Ambiguous) {
        return Err(ambiguous(structure));
    }
    let mut labels = LabelMap::zeros(geometry.clone());
    let [_, rows, columns] = geometry.size;
    let area = rows * columns;
    let mut beside = vec![0; sites.beside.len() * area];
    let mut structures = Vec::new();
    for (label, structure) in wanted {
        let (slices, left_out) = sorted(structure, label, geometry, &sites)?;
        let sites_of =
            slices.into_iter().flat_map(|(site, planes)| planes.into_iter().map(move |one| (site, one.1)));
        for (site, crossings) in sites_of {
            let (voxels, place) = match site.checked_sub(sites.depth) {
                Some(place) => (&mut beside[..], place),
                None => (labels.voxels_mut(), site),
            };
            if let Some(voxels) = voxels.get_mut(place * area..(place + 1) * area) {
                crossings.fill(voxels, columns, label, &mut over);
            }
        }
        structures.push(left_out);
    }
    sites.fill(&mut labels, &beside, &over);
    let sum = |count: fn(&LeftOut) -> usize| structures.iter().map(count).sum();
    let skipped =
        |one: &LeftOut| one.without_area + one.unreadable + one.unknown_types.values().sum::<usize>();
    let (off_slice, skipped) = (sum(|one| one.off_slice + one.beyond), sum(skipped));
    Ok(Drawn { labels, off_slice, skipped, structures, over })
}

fn ambiguous(structure: &Structure) -> Reject {
    let message = format!(
        "`{}`: a ROINumber of its own expected, another structure has {} as well, and whose the contours are \
         cannot be told",
        structure.name, structure.number
    );
    Reject::new(
        "ROI_NUMBER_REPEATED",
        message,
        "give each structure its own number, and export the file again",
    )
}

/// The planes at one slice in which contours lie: their heights, and where these cross its rows.
type PlanesAt = Vec<(f64, Crossings)>;

/// Sorts a structure's contours by the slice that they lie on, and says what became of them.
fn sorted(
    structure: &Structure,
    label: u16,
    geometry: &Geometry,
    sites: &Sites,
) -> Result<(BTreeMap<usize, PlanesAt>, LeftOut), Reject> {
    let [_, rows, columns] = geometry.size;
    let mut left_out = LeftOut {
        structure: structure.name.clone(),
        label,
        contours: structure.contours.len(),
        unknown_types: structure.unknown_types.clone(),
        shared: structure.shared,
        ..LeftOut::default()
    };
    let (mut slices, mut whole, mut inside) = (BTreeMap::<usize, PlanesAt>::new(), 0.0, 0.0);
    let mut seen = HashSet::new();
    for contour in &structure.contours {
        match (contour.kind, contour.points.len()) {
            // Contours of unknown types are counted by type.
            (ContourKind::Unknown, _) => continue,
            (ContourKind::Closed, 0) => {
                left_out.unreadable += 1;
                continue;
            }
            _ if contour.encloses_nothing() => {
                left_out.without_area += 1;
                continue;
            }
            _ => {}
        }
        match place(contour, geometry, sites)? {
            ContourPlace::On(..) if !seen.insert(Digest::of(&contour.corner_bytes())) => {
                left_out.repeated += 1
            }
            ContourPlace::On(site, height, corners) => {
                left_out.drawn += 1;
                whole += area::of(&corners);
                inside += area::within(&corners, [rows, columns]);
                let planes = slices.entry(site).or_default();
                let place = planes.iter().position(|(of, _)| (of - height).abs() <= SAME_PLANE);
                let place = place.unwrap_or_else(|| {
                    planes.push((height, Crossings::new(rows)));
                    planes.len() - 1
                });
                if let Some((_, crossings)) = planes.get_mut(place) {
                    crossings.add(&corners);
                }
            }
            ContourPlace::Beyond(corners) => {
                left_out.beyond += 1;
                whole += area::of(&corners);
            }
            ContourPlace::Between => left_out.off_slice += 1,
        }
    }
    left_out.beyond_share = area::beyond(whole, inside);
    Ok((slices, left_out))
}

/// The sites that contours may lie on: the planes of the grid, then the slices that lie between them.
struct Sites {
    depth: usize,
    planes: Vec<Plane>,
    slices: usize,
    /// The slices between planes, by their places in the list, with their heights.
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

    /// The site nearest to a height along the grid, and that site's own height.
    fn nearest(&self, height: f64) -> Option<(usize, f64)> {
        let plane = height.round();
        let on_grid = plane >= 0.0 && plane < self.depth as f64;
        let plane = on_grid.then_some((plane as usize, plane));
        let beside = (self.depth..).zip(&self.beside).map(|(site, &(_, height))| (site, height));
        let away = |(_, of): &(usize, f64)| (of - height).abs();
        plane.into_iter().chain(beside).min_by(|a, b| away(a).total_cmp(&away(b)))
    }

    /// Labels the planes between slices.
    fn fill(&self, labels: &mut LabelMap, beside: &[u16], over: &Overlap) {
        if self.slices == 0 {
            return;
        }
        let area = (labels.size()[1] * labels.size()[2]).max(1);
        let slices = self.beside.iter().zip(beside.chunks_exact(area));
        let beside = slices.map(|(&(slice, _), labels)| (slice, labels.to_vec())).collect();
        planes::fill_between(labels, &self.planes, self.slices, &beside, over);
    }
}

/// The place of a contour, with its corners as (row, column).
enum ContourPlace {
    /// A site that the contour lies on, with its height along the grid.
    On(usize, f64, Vec<[f64; 2]>),
    /// The space before the first slice, or after the last.
    Beyond(Vec<[f64; 2]>),
    /// The space between slices; or the contour lies across them.
    Between,
}

fn place(contour: &Contour, geometry: &Geometry, sites: &Sites) -> Result<ContourPlace, Reject> {
    let mut corners = Vec::with_capacity(contour.points.len());
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for &point in &contour.points {
        let Some(index) = geometry.to_voxel(point) else {
            let message = "the axes of the grid do not span space";
            return Err(Reject::new("BAD_GEOMETRY", message, "the scan's spacing or orientation is broken"));
        };
        let [slice, row, column] = index.0;
        if !(slice.is_finite() && row.is_finite() && column.is_finite()) {
            return Ok(ContourPlace::Between);
        }
        (lowest, highest) = (lowest.min(slice), highest.max(slice));
        corners.push([row, column]);
    }
    let middle = (lowest + highest) / 2.0;
    if let Some((site, height)) = sites.nearest(middle) {
        let away = (lowest - height).abs().max((highest - height).abs());
        // The bound is a little more than the tolerance, so that rounded decimal strings do not decide.
        if away <= PLANE_TOLERANCE + 1e-6 {
            return Ok(ContourPlace::On(site, middle, corners));
        }
    }
    let beyond = highest < 0.0 || lowest > sites.depth as f64 - 1.0;
    Ok(if beyond { ContourPlace::Beyond(corners) } else { ContourPlace::Between })
}

/// The places where the edges of contours cross the lines of a slice through voxel centres, as columns, by
/// row.
struct Crossings(Vec<Vec<f64>>);

impl Crossings {
    fn new(rows: usize) -> Self {
        Self(vec![Vec::new(); rows])
    }

    fn add(&mut self, corners: &[[f64; 2]]) {
        let next = corners.iter().skip(1).chain(corners.first());
        for (&[row_a, column_a], &[row_b, column_b]) in corners.iter().zip(next) {
            let (top, bottom) = (row_a.min(row_b), row_a.max(row_b));
            // The range is half open: a corner on a line belongs to the edge below it, so that none counts
            // twice.
            let first = top.ceil().max(0.0) as usize;
            let end = bottom.ceil().clamp(0.0, self.0.len() as f64) as usize;
            let slope = (column_b - column_a) / (row_b - row_a);
            for (row, line) in self.0.iter_mut().enumerate().take(end).skip(first) {
                line.push(column_a + (row as f64 - row_a) * slope);
            }
        }
    }

    /// Labels the voxels whose centres lie inside an odd number of contours, and counts those that had another label.
    fn fill(self, voxels: &mut [u16], columns: usize, label: u16, over: &mut Overlap) {
        for (mut line, voxels) in self.0.into_iter().zip(voxels.chunks_exact_mut(columns.max(1))) {
            line.sort_by(f64::total_cmp);
            for pair in line.as_chunks::<2>().0 {
                let [from, to] = pair.map(|column| column.ceil().clamp(0.0, columns as f64) as usize);
                if let Some(run) = voxels.get_mut(from..to) {
                    over.put(label, run);
                }
            }
        }
    }
}
