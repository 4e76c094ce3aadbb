//! One orientation and one spacing for all scans, by nnU-Net's rules.

use std::collections::BTreeMap;

use super::archive::{Archive, Block, Seen};
use super::planning::{Fingerprint, Planned, percentile};
use super::toml;

/// The share by which spacings may differ from the wanted one and are left as they are.
const ALIKE: f64 = 0.02;

/// Distance at which steps and corners of two grids are the same, mm.
const SAME_MM: f64 = 0.01;

/// Whether two grids have the same steps and the same first corner.
pub fn same_places(a: &[[f64; 4]; 4], b: &[[f64; 4]; 4]) -> bool {
    a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= SAME_MM)
}

/// Returns where columns, rows and slices of a grid grow to.
pub fn axes(affine_lps: &[[f64; 4]; 4]) -> String {
    let letter = |column: usize| {
        let along = |row: usize| affine_lps[row][column];
        let row = (1..3).fold(0, |best, row| if along(row).abs() > along(best).abs() { row } else { best });
        match (row, along(row) < 0.0) {
            (0, false) => 'L',
            (0, true) => 'R',
            (1, false) => 'P',
            (1, true) => 'A',
            (_, false) => 'S',
            (_, true) => 'I',
        }
    };
    (0..3).map(letter).collect()
}

/// The pair of sides that a letter is one of.
fn pair(letter: char) -> usize {
    match letter {
        'L' | 'R' => 0,
        'P' | 'A' => 1,
        _ => 2,
    }
}

/// Returns, for each of `[D, H, W]` as `wanted` has them, the axis of a grid of these axes.
fn turned(own: &str, wanted: &str) -> [usize; 3] {
    let (own, wanted): (Vec<char>, Vec<char>) = (own.chars().collect(), wanted.chars().collect());
    std::array::from_fn(|axis| {
        // Letters begin with columns, sizes with slices.
        let side = wanted.get(2 - axis).map(|letter| pair(*letter));
        own.iter().position(|letter| Some(pair(*letter)) == side).map_or(axis, |place| 2 - place)
    })
}

/// How scans are brought together.
#[derive(Debug, Default)]
pub struct Grids {
    /// The operators that do it.
    pub blocks: Vec<Block>,
    /// The stage that gives scans on such grids.
    pub stage: String,
    /// The plan for them.
    pub planned: Option<Planned>,
    /// The spacing that they have then, along `[D, H, W]`, mm.
    pub spacing_mm: [f64; 3],
    /// What the network sees of it, in words for a comment.
    pub fingerprint: String,
}

/// Operators and plan for an archive, and a device of so much memory.
pub fn of(archive: &Archive, gigabytes: f64) -> Grids {
    let learns = archive.learns();
    let scans: Vec<&Seen> = archive.scans.iter().filter(|scan| scan.labelled || !learns).collect();
    let mut grids = Grids { stage: archive.cases.clone(), ..Grids::default() };
    let Some(wanted) = orientation(&scans, &mut grids) else { return grids };
    let turned = |scan: &&Seen| {
        let order = turned(&scan.axes, &wanted);
        (order.map(|axis| scan.spacing_mm[axis]), order.map(|axis| scan.size[axis]))
    };
    let (spacings_mm, sizes): (Vec<[f64; 3]>, Vec<[usize; 3]>) = scans.iter().map(turned).unzip();
    let fingerprint = Fingerprint { spacings_mm, sizes, classes: archive.labels.len() + 1 };
    let Some(planned) = fingerprint.plan(gigabytes) else { return grids };
    grids.spacing_mm = planned.target_mm;
    grids.fingerprint = words(&fingerprint);
    resample(&fingerprint, &planned, &mut grids);
    grids.planned = Some(planned);
    grids
}

/// The orientation of most scans, and the operator that turns the others to it; `None` where there are no scans.
fn orientation(scans: &[&Seen], grids: &mut Grids) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    scans.iter().for_each(|scan| *counts.entry(&scan.axes).or_default() += 1);
    let several = counts.len() > 1;
    let named: Vec<String> = counts.iter().map(|(axes, count)| format!("{count} {axes}")).collect();
    let wanted = counts.into_iter().max_by_key(|(_, count)| *count)?.0.to_owned();
    if several {
        let block = Block::new("operators.turned", "reorient")
            .why(format!(
                "Scans lie in several orientations ({}): all are turned to that of most.",
                named.join(", ")
            ))
            .with("inputs", toml::list([toml::text(&grids.stage)]))
            .with("axes", toml::text(&wanted));
        grids.blocks.push(block);
        "turned".clone_into(&mut grids.stage);
    }
    Some(wanted)
}

fn resample(fingerprint: &Fingerprint, planned: &Planned, grids: &mut Grids) {
    let target = grids.spacing_mm;
    let alike = |spacing: &[f64; 3]| {
        spacing.iter().zip(target).all(|(own, wanted)| (own / wanted - 1.0).abs() <= ALIKE)
    };
    if fingerprint.spacings_mm.iter().all(alike) {
        return;
    }
    let why = match planned.anisotropic {
        true => {
            "nnU-Net's rule: the median spacing of all scans, but along the coarsest axis, which is three times as \
                 coarse as the next one, the 10th percentile, so that fine scans lose little."
        }
        false => "nnU-Net's rule: the median spacing of all scans.",
    };
    let block = Block::new("operators.volume_mm", "resample")
        .why(format!("{why} {}", ranges(fingerprint)))
        .with("inputs", toml::list([toml::text(&grids.stage)]))
        .with("spacing_mm", toml::list(target.map(toml::number)))
        .with("convention", toml::text("nnunet"))
        .with("order", toml::text("cubic"));
    grids.blocks.push(block);
    "volume_mm".clone_into(&mut grids.stage);
}

/// The spacings that there are.
fn ranges(fingerprint: &Fingerprint) -> String {
    let range = |axis: usize| {
        let along = fingerprint.spacings_mm.iter().map(|spacing| spacing[axis]);
        let (least, most) = along
            .fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), one| (least.min(one), most.max(one)));
        match toml::number(least) == toml::number(most) {
            true => toml::number(least),
            false => format!("{} to {}", toml::number(least), toml::number(most)),
        }
    };
    format!("Found: {} mm along [D, H, W].", (0..3).map(range).collect::<Vec<_>>().join(", "))
}

fn words(fingerprint: &Fingerprint) -> String {
    let size =
        |axis: usize| percentile(fingerprint.sizes.iter().map(|size| size[axis] as f64).collect(), 50.0);
    let size: Vec<String> = (0..3).map(|axis| size(axis).round().to_string()).collect();
    format!("{} scans, of {} voxels in the median", fingerprint.sizes.len(), size.join("×"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(spacing_mm: [f64; 3], size: [usize; 3], axes: &str) -> Seen {
        Seen { file: None, spacing_mm, size, axes: axes.to_owned(), labelled: true }
    }

    fn archive(scans: Vec<Seen>) -> Archive {
        Archive { scans, labels: vec!["a".to_owned()], cases: "case".to_owned(), ..Archive::default() }
    }

    #[test]
    fn axes_are_named_by_where_they_go() {
        let affine = |columns: [[f64; 3]; 3]| {
            let mut affine = [[0.0; 4]; 4];
            for (column, direction) in columns.into_iter().enumerate() {
                for (row, value) in direction.into_iter().enumerate() {
                    affine[row][column] = value;
                }
            }
            affine
        };
        assert_eq!(axes(&affine([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])), "LPS");
        assert_eq!(axes(&affine([[0.0, -2.0, 0.0], [0.0, 0.0, -1.0], [-3.0, 0.0, 0.5]])), "AIR");
    }

    #[test]
    fn scans_of_one_grid_stay_as_they_are() {
        let grids =
            of(&archive(vec![scan([1.0; 3], [40; 3], "LPS"), scan([1.01, 1.0, 1.0], [44; 3], "LPS")]), 8.0);
        assert_eq!((grids.blocks.len(), grids.stage.as_str()), (0, "case"));
        assert!(grids.planned.is_some());
    }

    #[test]
    fn other_orientations_are_turned_before_the_rule() {
        let scans = vec![
            scan([5.0, 1.0, 1.0], [20, 128, 128], "LPS"),
            scan([1.0, 1.0, 5.0], [128, 128, 20], "SPL"),
            scan([4.0, 1.0, 1.0], [24, 128, 128], "RAS"),
            scan([4.5, 1.0, 1.0], [24, 128, 128], "LPS"),
        ];
        let grids = of(&archive(scans), 8.0);
        let headings: Vec<&str> = grids.blocks.iter().map(|block| block.heading.as_str()).collect();
        assert_eq!(headings, ["operators.turned", "operators.volume_mm"]);
        assert_eq!((grids.stage.as_str(), &grids.spacing_mm[1..]), ("volume_mm", &[1.0, 1.0][..]));
        assert!(grids.spacing_mm[0] > 4.0 && grids.spacing_mm[0] < 4.2, "{:?}", grids.spacing_mm);
        assert!(grids.planned.unwrap().anisotropic);
    }
}
