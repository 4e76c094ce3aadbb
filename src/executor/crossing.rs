//! Labels that cross: what stands for sets of them in a case is no label of its own.

use super::artifact::MaskArtifact;
use super::load::Context;
use super::truth::Truth;
use crate::operators::registry::Stage;
use crate::operators::value::Mask;

/// Of the names of the values of a stage's cases those of labels; and for each label the values of the sets that it is
/// of, none where no labels cross.
pub(super) fn labels_of(
    context: &Context,
    stage: usize,
    mut names: Vec<String>,
) -> (Vec<String>, Vec<Vec<u16>>) {
    let source = context.plan.label_source(stage).map(|source| &context.plan.stages[source].stage);
    let Some(Stage::Labels(source)) = source else { return (names, Vec::new()) };
    let labels = source.label_names().len();
    if source.sets().is_empty() {
        return (names, Vec::new());
    }
    names.truncate(labels);
    let of_sets =
        |within: Vec<u16>| within.into_iter().filter(|value| usize::from(*value) > labels).collect();
    (names, source.nested().into_iter().map(of_sets).collect())
}

/// Whether a label is seen by itself, or by a set that it is of.
pub(super) fn seen(mut values: [bool; 256], of_sets: &[Vec<u16>]) -> [bool; 256] {
    for (label, sets) in (1..).zip(of_sets) {
        let any = sets.iter().any(|value| values.get(usize::from(*value)).copied().unwrap_or(false));
        if let Some(seen) = values.get_mut(label) {
            *seen |= any;
        }
    }
    values
}

/// Labels as a mask: of those that cross each by itself, with all that lies within it (`nested`, by name).
pub(super) fn as_mask(truth: &Truth, mask: &Mask, nested: &[(String, Vec<String>)]) -> MaskArtifact {
    if truth.sets.is_empty() {
        return MaskArtifact::of(mask);
    }
    let names: &[String] = &mask.label_names;
    let labels = names.iter().filter(|name| !truth.sets.contains(name));
    let region = |name: &String| -> (String, Vec<bool>) {
        let held = nested.iter().filter(|(outer, _)| outer == name).flat_map(|(_, within)| within);
        let own: Vec<&String> = std::iter::once(name).chain(held).collect();
        (name.clone(), std::iter::once(false).chain(names.iter().map(|name| own.contains(&name))).collect())
    };
    MaskArtifact::of_regions(&mask.labels, labels.map(region).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tomoflow_connectors::{Geometry, LabelMap};

    use super::*;
    use crate::operators::source::Drawing;

    #[test]
    fn labels_that_cross_are_masks_of_their_own() {
        let grid = Geometry::axis_aligned([1, 1, 6], [1.0; 3]);
        // A liver with a lesion, which a vessel crosses: values 4 (liver & vessel) and 5 (vessel & lesion).
        let drawn = LabelMap::new(grid.clone(), vec![1, 4, 5, 3, 2, 0]).unwrap();
        let names = ["liver", "vessel", "lesion", "liver & vessel", "vessel & lesion"].map(str::to_owned);
        let truth = Truth::new(Drawing::from(drawn), names.to_vec()).unwrap().sharing(names[3..].to_vec());
        let of = |name: &str, within: &[&str]| {
            (name.to_owned(), within.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let nested = [
            of("liver", &["lesion", "liver & vessel", "vessel & lesion"]),
            of("vessel", &["liver & vessel", "vessel & lesion"]),
            of("lesion", &["vessel & lesion"]),
        ];
        let mask = as_mask(&truth, &truth.mask, &nested);
        assert!(mask.overlaps);
        assert_eq!(mask.label_names, ["liver", "vessel", "lesion"]);
        let voxels = |name: &str| mask.layer(name, &grid).unwrap().unwrap().labels.voxels().to_vec();
        assert_eq!(voxels("liver"), [1, 1, 1, 1, 0, 0]);
        assert_eq!(voxels("vessel"), [0, 2, 2, 0, 2, 0]);
        assert_eq!(voxels("lesion"), [0, 0, 3, 3, 0, 0]);
        // Where none cross a mask is what it was.
        let plain = Truth { sets: Vec::new(), ..truth.clone() };
        assert!(!as_mask(&plain, &plain.mask, &nested).overlaps);
        let names = Arc::clone(&plain.mask.label_names);
        assert_eq!(as_mask(&plain, &plain.mask, &[]).label_names, *names);
    }

    #[test]
    fn a_set_shows_its_labels() {
        let mut values = [false; 256];
        (values[1], values[4]) = (true, true);
        let found = seen(values, &[vec![4], vec![4, 5], vec![5]]);
        assert_eq!(found[1..4], [true, true, false]);
        assert_eq!(seen(values, &[]), values);
    }
}
