//! Labels that a network found, as if somebody had drawn them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use tomoflow_connectors::{LabelMap, Reject};

use super::load::Context;
use super::truth::Truth;
use super::work::{LabelRow, SeriesRow};
use crate::operators::value::Mask;

/// The code of a label of which a mask that is learned from has no voxel.
const WITHOUT: &str = "ADOPTED_WITHOUT";

impl Context {
    /// A mask that an `adopt` put in the place of labels, numbered as those that its cases have.
    ///
    /// # Errors
    /// When the artifact is gone or damaged, and `LABEL_MISMATCH` for a label that the cases do not have.
    pub(super) fn adopted(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Truth, Reject> {
        let mask = self.mask(series, labels.record)?;
        let names = self.plan.adopted_names(labels.source.place());
        let mask = if names.is_empty() { mask } else { renumbered(&mask, &names)? };
        let present: BTreeSet<u16> = mask.labels.voxels().iter().copied().collect();
        let lacks = (1..).zip(&*mask.label_names).filter(|(label, _)| !present.contains(label));
        let told = lacks.map(|(_, name)| {
            let message = format!("a voxel of `{name}` expected in a mask that is learned from, none found");
            Reject::new(WITHOUT, message, "the network learns from this case that the label is not there")
        });
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        Ok(Truth { mask, absent: Vec::new(), boxes: None, sets: Vec::new() })
    }
}

/// A mask with labels of these names, in this order.
fn renumbered(mask: &Mask, names: &[String]) -> Result<Mask, Reject> {
    if *mask.label_names == *names {
        return Ok(mask.clone());
    }
    let number = |name: &String| names.iter().position(|known| known == name).map(|place| place as u16 + 1);
    let table: Vec<Option<u16>> =
        std::iter::once(Some(0)).chain(mask.label_names.iter().map(number)).collect();
    let mut voxels = Vec::with_capacity(mask.labels.voxels().len());
    for label in mask.labels.voxels() {
        let Some(Some(number)) = table.get(usize::from(*label)) else {
            let found = mask.label_names.get(usize::from(*label).wrapping_sub(1));
            let found = found.map_or_else(|| format!("label {label}"), |name| format!("`{name}`"));
            let message =
                format!("labels of {} expected in a mask that is adopted, {found} found", names.join(", "));
            return Err(Reject::new(
                "LABEL_MISMATCH",
                message,
                "the network must have learned the cases' labels",
            ));
        };
        voxels.push(*number);
    }
    let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
        .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
    Ok(Mask { labels: Arc::new(labels), label_names: names.into() })
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Geometry;

    use super::*;

    fn mask(names: &[&str], voxels: &[u16]) -> Mask {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        Mask { labels, label_names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn labels_are_found_by_name() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let found = renumbered(&mask(&["c", "x", "a"], &[0, 1, 3, 3]), &names).unwrap();
        assert_eq!((found.labels.voxels(), &*found.label_names), (&[0, 3, 1, 1][..], &names[..]));
        let other = renumbered(&mask(&["c", "x"], &[0, 2]), &names).unwrap_err();
        assert!(other.code == "LABEL_MISMATCH" && other.message.contains("`x`"), "{other:?}");
        assert_eq!(renumbered(&mask(&["c"], &[7]), &names).unwrap_err().code, "LABEL_MISMATCH");
    }
}
