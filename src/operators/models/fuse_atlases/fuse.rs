//! Atlases to a scan, and their labels to its labels.

use serde::Deserialize;
use tomoflow_connectors::{LabelMap, Scan};

use crate::operators::value::{Case, Failure};
use crate::voxels::fusion::{Carried, Joint, Sparse, joint, majority, sparse};
use crate::voxels::register::{self, Affine, Deformation, Demons, NOWHERE};

/// How an atlas is brought to a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// An atlas is taken as both lie in patient space.
    None,
    /// An atlas is brought to the scan by an affine map.
    Affine,
    /// An atlas is brought to the scan by an affine map and a field behind it.
    Demons,
}

/// How labels are put together.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Fusion {
    /// Labels are decided by votes.
    Majority,
    /// Labels are decided by votes that likeness weighs.
    #[expect(missing_docs, reason = "the fields' own texts say what they are")]
    Joint { patch_mm: f64, search_mm: f64, alpha: f64, beta: f64 },
    /// Labels are decided by the atlases' patches that a patch of the scan is made of.
    #[expect(missing_docs, reason = "the fields' own texts say what they are")]
    Sparse { patch_mm: f64, search_mm: f64, candidates: usize, l1: f64, l2: f64 },
}

/// Labels from atlases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fuse {
    /// How each atlas is brought to a scan.
    pub registration: Registration,
    /// The settings of the demons.
    pub demons: Demons,
    /// The most atlases that take part.
    pub most: usize,
    /// How the atlases' labels are put together.
    pub fusion: Fusion,
}

/// A scan with its labels.
pub struct Atlas {
    /// Intensities.
    pub scan: Scan,
    /// Classes on the same grid.
    pub labels: LabelMap,
}

/// Atlases that are read one by one.
pub trait Library {
    /// Returns the number of atlases.
    fn count(&self) -> usize;

    /// Reads one of the atlases.
    ///
    /// # Errors
    /// [`Failure`] where it cannot be read.
    fn atlas(&self, number: usize) -> Result<Atlas, Failure>;
}

/// An atlas that takes part, and how it comes to the scan.
pub(super) struct Chosen {
    pub(super) number: usize,
    affine: Affine,
    pub(super) correlation: f64,
}

/// Atlases that do not take part, though they should.
#[derive(Default)]
pub(super) struct LeftOut(Vec<Failure>);

impl LeftOut {
    /// Notes what went wrong with an atlas; what went wrong with reading it ends the action.
    fn or<T>(&mut self, found: Result<T, Failure>) -> Option<T> {
        found.map_err(|failure| self.0.push(failure)).ok()
    }
}

impl Fuse {
    /// The labels of a scan's voxels, and atlases that were left out, in a row.
    ///
    /// # Errors
    /// Those of a scan that cannot be registered; `NO_ATLAS` where no atlas can be brought to it.
    pub fn fuse(&self, case: &Case, library: &dyn Library) -> Result<(LabelMap, Option<Failure>), Failure> {
        let target = &*case.scan;
        register::check(target)?;
        let mut left_out = LeftOut::default();
        let chosen = self.choose(target, library, &mut left_out)?;
        let mut carried = Vec::with_capacity(chosen.len());
        for chosen in &chosen {
            let atlas = library.atlas(chosen.number)?;
            carried.extend(left_out.or(self.carry(target, &atlas, &chosen.affine)));
        }
        if carried.is_empty() {
            return Err(no_atlas(library.count(), &left_out));
        }
        let mut labels = self.together(target, &carried);
        labels.iter_mut().filter(|label| **label == NOWHERE).for_each(|label| *label = 0);
        let labels = LabelMap::new(target.geometry().clone(), labels)
            .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
        Ok((labels, told(&left_out)))
    }

    /// Bytes for a scan of so many voxels and atlases of so many at most.
    pub fn bytes(&self, voxels: u64, of_atlas: u64) -> u64 {
        let most = self.most as u64;
        // Standardised scans, forces and fields; then what is carried over, and its patches.
        let each = match self.fusion {
            Fusion::Majority => 6,
            Fusion::Joint { .. } | Fusion::Sparse { .. } => 42,
        };
        let of_scan = 110_u64.saturating_add(most.saturating_mul(each));
        voxels.saturating_mul(of_scan).saturating_add(of_atlas.saturating_mul(32))
    }

    /// The atlases that take part, the most alike first.
    pub(super) fn choose(
        &self,
        target: &Scan,
        library: &dyn Library,
        left_out: &mut LeftOut,
    ) -> Result<Vec<Chosen>, Failure> {
        let mut chosen = Vec::new();
        for number in 0..library.count() {
            let atlas = library.atlas(number)?;
            if is_itself(target, &atlas.scan) {
                continue;
            }
            if self.registration == Registration::None {
                chosen.push(Chosen { number, affine: Affine::IDENTITY, correlation: 0.0 });
            } else if let Some(aligned) = left_out.or(register::align(target, &atlas.scan)) {
                let (affine, correlation) = (aligned.affine, aligned.correlation);
                chosen.push(Chosen { number, affine, correlation });
            }
        }
        // The earlier of equal ones comes first.
        chosen.sort_by(|a, b| b.correlation.total_cmp(&a.correlation));
        chosen.truncate(self.most);
        Ok(chosen)
    }

    /// An atlas on the grid of the scan.
    fn carry(&self, target: &Scan, atlas: &Atlas, affine: &Affine) -> Result<Carried, Failure> {
        let field = match self.registration {
            Registration::Demons => register::deform(target, &atlas.scan, affine, &self.demons)?,
            _ => Deformation::affine(target.geometry(), *affine),
        };
        let labels = field.labels(&atlas.labels)?;
        if labels.iter().all(|label| *label == NOWHERE) {
            let message = "an atlas that shares space with the scan expected, one beside it found";
            return Err(Failure::new(
                "NO_OVERLAP",
                message,
                "let `registration` be \"affine\" or \"demons\"",
            ));
        }
        Ok(Carried { scan: field.scan(&atlas.scan)?, labels })
    }

    fn together(&self, target: &Scan, carried: &[Carried]) -> Vec<u16> {
        let spacing_mm = target.geometry().spacing_mm();
        let size = target.size();
        let radius = |mm: f64| {
            [0, 1, 2].map(|axis| ((mm / spacing_mm[axis]).round().max(1.0) as usize).min(size[axis]))
        };
        match self.fusion {
            Fusion::Majority => majority(carried),
            Fusion::Joint { patch_mm, search_mm, alpha, beta } => {
                let how = Joint { patch: radius(patch_mm), search: radius(search_mm), alpha, beta };
                joint(target.voxels(), size, carried, &how)
            }
            Fusion::Sparse { patch_mm, search_mm, candidates, l1, l2 } => {
                let (patch, search) = (radius(patch_mm), radius(search_mm));
                sparse(target.voxels(), size, carried, &Sparse { patch, search, candidates, l1, l2 })
            }
        }
    }
}

/// Whether an atlas is the scan itself.
fn is_itself(target: &Scan, atlas: &Scan) -> bool {
    target.geometry() == atlas.geometry() && target.voxels() == atlas.voxels()
}

/// Why atlases were left out: how many, and the first reason.
fn told(left_out: &LeftOut) -> Option<Failure> {
    let first = left_out.0.first()?;
    let message = format!(
        "all atlases brought to the scan expected, {} left out: {}, {}",
        left_out.0.len(),
        first.code,
        first.message
    );
    Some(Failure::new("ATLASES_LEFT_OUT", message, first.hint.clone()))
}

fn no_atlas(count: usize, left_out: &LeftOut) -> Failure {
    let (why, hint) = match left_out.0.first() {
        Some(first) => (format!(": {}, {}", first.code, first.message), first.hint.clone()),
        None => (String::new(), "a library needs an atlas that is another case".to_owned()),
    };
    let message = format!("an atlas that can be brought to the scan expected, none of {count} found{why}");
    Failure::new("NO_ATLAS", message, hint)
}
