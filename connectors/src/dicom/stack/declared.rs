//! Slices that lie farther apart than they say: every second one may be missing, which no gap shows.

use super::slices::Slice;
use crate::Reject;
use crate::geometry::dot;

/// The most by which the distance found may be off a multiple of the declared one, as a share of the declared
/// one.
const TOLERANCE: f64 = 0.1;
/// The share by which slices may differ in the distance that they declare.
const ALIKE: f64 = 0.01;

/// A distance of neighbours that is a multiple of the one that is declared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wider {
    /// The declared SpacingBetweenSlices, mm.
    declared: f64,
    /// The distance found along the normal, mm.
    found: f64,
    times: f64,
}

impl Wider {
    /// Looks at slices of one stack, ascending along the normal and evenly apart; `None` when they lie as
    /// they declare, or declare nothing, or different things.
    pub(crate) fn find(slices: &[Slice<'_>], normal: [f64; 3]) -> Option<Self> {
        let (first, last) = (slices.first()?, slices.last()?);
        let gaps = slices.len().checked_sub(1).filter(|&gaps| gaps > 0)?;
        let found = (dot(last.position, normal) - dot(first.position, normal)) / gaps as f64;
        let of = |slice: &Slice<'_>| slice.frame.gap_mm.map(|gap| gap.0.abs());
        let declared = of(first).filter(|gap| *gap > 0.0 && gap.is_finite())?;
        let alike = |slice| of(slice).is_some_and(|gap| (gap - declared).abs() <= ALIKE * declared);
        let times = (found / declared).round();
        let multiple = times >= 2.0 && (found - times * declared).abs() <= TOLERANCE * declared;
        (multiple && slices.iter().all(alike)).then_some(Self { declared, found, times })
    }

    /// The note on the distance, which is no refusal: some scanners declare the distance between the faces of
    /// slices.
    pub(crate) fn note(&self) -> String {
        format!("GAP_DECLARED: slices {} mm apart declared, {:.3} mm found", self.declared, self.found)
    }

    /// The refusal of the stack, where InstanceNumbers leave out as many slices as the distance does.
    pub(crate) fn refusal(&self, slices: &[Slice<'_>]) -> Option<Reject> {
        let number = |slice: &Slice<'_>| slice.said("InstanceNumber").parse::<f64>().ok();
        let steps: Option<Vec<f64>> =
            slices.iter().zip(slices.iter().skip(1)).map(|(a, b)| Some(number(b)? - number(a)?)).collect();
        let steps = steps.filter(|steps| !steps.is_empty())?;
        let skips = |times: f64| steps.iter().all(|step| *step == times);
        (skips(self.times) || skips(-self.times)).then(|| {
            let Self { declared, found, times } = self;
            let message = format!(
                "slices {declared} mm apart expected, as SpacingBetweenSlices declares, {found:.3} mm found, and \
                 InstanceNumbers {times} apart"
            );
            let hint = "all slices but each second, third, … may be missing: look for them in the archive";
            Reject::new("MISSING_SLICE", message, hint)
        })
    }
}
