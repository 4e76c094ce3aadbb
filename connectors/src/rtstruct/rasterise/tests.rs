//! Tests on contours made by hand.

use super::*;
use crate::PatientPoint;

fn square(from: f64, to: f64, z: f64) -> Contour {
    let corners = [[from, from], [to, from], [to, to], [from, to]];
    let points = corners.map(|[x, y]| PatientPoint([x, y, z])).to_vec();
    Contour { kind: ContourKind::Closed, sop_uid: String::new(), points }
}

fn set(structures: &[(&str, Vec<Contour>)]) -> StructureSet {
    let structure = |(name, contours): &(&str, Vec<Contour>)| Structure {
        name: (*name).to_owned(),
        contours: contours.clone(),
        ..Structure::default()
    };
    StructureSet { structures: structures.iter().map(structure).collect(), ..StructureSet::default() }
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
    let contours = vec![square(1.5, 4.5, 1.0), square(1.5, 4.5, 2.5), square(1.5, 4.5, 99.0), point, line];
    let drawn = draw(&set(&[("a", contours), ("other", vec![square(1.5, 4.5, 1.0)])]));
    assert_eq!((drawn.off_slice, drawn.skipped), (3, 2));
    let [left] = &drawn.structures[..] else { panic!("one structure was asked for") };
    assert_eq!((left.off_slice, left.beyond, left.without_area, left.drawn), (2, 1, 2, 0));
    assert_eq!(drawn.nothing().unwrap().code, "CONTOUR_OFF_SLICE");
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
fn what_lies_beside_the_grid_is_told_as_a_share() {
    let half = draw(&set(&[("a", vec![square(3.5, 11.5, 0.0)])]));
    // The grid ends at 7.5: a quarter of the square lies on it.
    assert!((half.structures[0].beyond_share - 0.75).abs() < 1e-12);
    assert_eq!(half.told()[0].code, "CONTOUR_BEYOND_SCAN");
    assert_eq!(half.nothing(), None);
    let after = draw(&set(&[("a", vec![square(1.5, 4.5, 4.0), square(1.5, 4.5, 6.0)])]));
    assert_eq!((after.structures[0].beyond, after.structures[0].beyond_share), (1, 0.5));
    let away = draw(&set(&[("a", vec![square(20.0, 30.0, 0.0)])]));
    assert_eq!(away.structures[0].beyond_share, 1.0);
    let whole = draw(&set(&[("a", vec![square(-0.5, 7.5, 0.0)])]));
    assert!(whole.told().is_empty());
    assert_eq!(draw(&set(&[("a", vec![square(-1e300, 1e300, 0.0)])])).structures[0].beyond_share, 1.0);
}

#[test]
fn a_structure_whose_contours_cannot_be_told_is_refused_when_it_is_asked_for() {
    let mut two = set(&[("a", vec![]), ("other", vec![square(1.5, 4.5, 0.0)])]);
    two.structures[0].shared = Shared::Ambiguous;
    let geometry = Geometry::axis_aligned([1, 8, 8], [1.0; 3]);
    let reject = rasterise(&two, &|_| Some(1), &geometry).unwrap_err();
    assert_eq!(reject.code, "ROI_NUMBER_REPEATED");
    let other = rasterise(&two, &|name| (name == "other").then_some(1), &geometry).unwrap();
    assert_eq!(count(&other, 0, 1), 9);
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

#[test]
fn a_contour_that_is_there_twice_is_drawn_once_and_told() {
    let twice = vec![square(1.5, 4.5, 0.0), square(1.5, 4.5, 0.0), square(2.5, 3.5, 0.0)];
    let drawn = draw(&set(&[("a", twice)]));
    // There are nine voxels and a hole of one.
    assert_eq!(count(&drawn, 0, 1), 8);
    assert_eq!((drawn.structures[0].drawn, drawn.structures[0].repeated), (2, 1));
    let told: Vec<String> = drawn.told().into_iter().map(|told| told.code).collect();
    assert_eq!(told, ["CONTOUR_REPEATED"]);
}

#[test]
fn planes_at_one_slice_do_not_undo_each_other() {
    // The contours lie a sixth of a slice before and behind the second slice, at 2 mm.
    let drawn = draw(&set(&[("a", vec![square(1.5, 4.5, 1.7), square(1.5, 4.5, 2.3)])]));
    assert_eq!((count(&drawn, 1, 1), drawn.structures[0].drawn), (9, 2));
    // Planes that differ by what an export rounds are one, and a hole stays one.
    let drawn = draw(&set(&[("a", vec![square(1.5, 4.5, 2.0), square(2.5, 3.5, 2.01)])]));
    assert_eq!(count(&drawn, 1, 1), 8);
}
