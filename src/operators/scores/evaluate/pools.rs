//! What a case adds to figures over several cases: counts and lesions, added up first and divided last.
//!
//! # Source
//! Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), 2023: the global Dice, and lesions of all cases together.

use serde::{Deserialize, Serialize};

use super::figures::{Empty, Figure, FigureKind, Needs};
use super::findings::Findings;
use super::lesions::Lesions;
use crate::metrics::Confusion;
use crate::operators::spec::{Default, Field, FieldKind, Role};

/// The field that asks for figures over several cases.
pub const POOLED: Field = Field {
    name: "pooled",
    kind: FieldKind::Bool,
    default: Default::Json("false"),
    role: Role::SemanticLater,
    doc: "Whether `summary` says as well what shares of voxels and of lesions come to over all cases of a group together: \
          `pooled_dice` is the global Dice, twice the voxels that both hold in any case over the voxels of both in all cases.",
};

/// What a case adds to figures of a label over several cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The label, by name.
    pub label: String,
    /// The counts of voxels.
    pub counts: Confusion,
    /// The lesions, where a figure is of them.
    pub lesions: Option<Lesions>,
}

impl Pool {
    pub(super) fn of(label: &str, found: &Findings) -> Self {
        Self { label: label.to_owned(), counts: found.counts, lesions: found.lesions.clone() }
    }
}

/// Whether a figure is a share of what can be counted over several cases together.
pub(super) fn can_be_pooled(figure: &Figure) -> bool {
    let share = matches!(figure.kind, FigureKind::Share | FigureKind::ShareOfSome);
    share && figure.end.is_none() && matches!(figure.needs, Needs::Counts | Needs::Lesions)
}

/// The figures of one label over several cases, by name: each by its formula, of what the cases add together.
pub(super) fn pooled(figures: &[&'static Figure], pools: &[Pool]) -> Vec<(String, Option<f64>)> {
    let mut lesions: Option<Lesions> = None;
    for own in pools.iter().filter_map(|pool| pool.lesions.as_ref()) {
        let all = lesions.get_or_insert(Lesions { each: Vec::new(), invented: 0 });
        all.each.extend(&own.each);
        all.invented += own.invented;
    }
    let all = Findings {
        counts: pools.iter().map(|pool| pool.counts).sum(),
        // Voxels of several cases have no volume in common, and no figure here asks for one.
        voxel_mm3: 0.0,
        distances: None,
        tolerance_mm: 0.0,
        centres_mm: None,
        lesions,
        thirds: None,
        observer: None,
    };
    let figures = figures.iter().filter(|figure| can_be_pooled(figure));
    figures.map(|figure| (figure.name.to_owned(), figure.value(&all, Empty::Nan, 0.0))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::lesions::{Lesion, Size};
    use super::super::{SPEC, build};
    use super::*;
    use crate::operators::spec::semantic;

    fn figures(names: &[&str]) -> Vec<&'static Figure> {
        names.iter().map(|name| Figure::named(name).unwrap()).collect()
    }

    fn pool(counts: [i64; 3], lesions: &[(Size, f64, bool)], invented: usize) -> Pool {
        let [tp, fp, fn_] = counts;
        let each = lesions.iter().map(|&(size, dice, found)| Lesion { size, dice, found }).collect();
        Pool {
            label: "lesion".to_owned(),
            counts: Confusion { tp, fp, fn_ },
            lesions: Some(Lesions { each, invented }),
        }
    }

    #[test]
    fn figures_over_cases_by_hand() {
        // Three cases: one found well, one with a lesion that was missed, one without lesions in which one was invented.
        let pools = [
            pool([6, 2, 2], &[(Size::Small, 0.5, true), (Size::Large, 0.9, true)], 0),
            pool([0, 0, 4], &[(Size::Small, 0.0, false)], 0),
            pool([0, 2, 0], &[], 1),
        ];
        let names = [
            "dice",
            "assd",
            "iou",
            "volume_ml",
            "rve",
            "recall",
            "lesion_recall",
            "lesion_precision",
            "lesion_f1",
            "lesion_dice",
            "lesion_recall_small",
            "lesion_dice_small",
            "lesion_dice_medium",
            "lesion_dice_large",
            "dice_base",
        ];
        let found = pooled(&figures(&names), &pools);
        // 2·6 / (2·6 + 4 + 6); the mean over the first two cases would be (0.75 + 0) / 2.
        let expected = [
            ("dice", Some(12.0 / 22.0)),
            ("iou", Some(6.0 / 16.0)),
            ("recall", Some(0.5)),
            ("lesion_recall", Some(2.0 / 3.0)),
            ("lesion_precision", Some(2.0 / 3.0)),
            ("lesion_f1", Some(4.0 / 6.0)),
            ("lesion_dice", Some(1.4 / 3.0)),
            ("lesion_recall_small", Some(0.5)),
            ("lesion_dice_small", Some(0.25)),
            ("lesion_dice_medium", None),
            ("lesion_dice_large", Some(0.9)),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((name, value), (wanted, expected)) in found.iter().zip(expected) {
            assert_eq!(name, wanted);
            assert_eq!(value.is_some(), expected.is_some(), "{name}: {value:?}");
            let apart = value.unwrap_or_default() - expected.unwrap_or_default();
            assert!(apart.abs() < 1e-12, "{name}: {value:?} for {expected:?}");
        }
    }

    #[test]
    fn a_group_without_voxels_or_cases_has_no_figure() {
        let names = figures(&["dice", "lesion_recall"]);
        let none = [("dice".to_owned(), None), ("lesion_recall".to_owned(), None)];
        assert_eq!(pooled(&names, &[]), none);
        assert_eq!(pooled(&names, &[pool([0, 0, 0], &[], 0), pool([0, 0, 0], &[], 0)]), none);
    }

    #[test]
    fn shares_are_asked_for_and_other_keys_stay() {
        let config = |metrics: Value, pooled: bool| {
            let config = json!({
                "metrics": metrics, "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5, "pooled": pooled,
            });
            config.as_object().unwrap().clone()
        };
        let field = |metrics: Value, pooled: bool| {
            build(&config(metrics, pooled)).err().map(|problems| problems[0].field.clone())
        };
        assert_eq!(field(json!(["assd", "dice_base", "rve"]), true).as_deref(), Some("pooled"));
        assert_eq!(field(json!(["assd", "dice_base", "rve"]), false), None);
        assert_eq!(field(json!(["assd", "lesion_dice_small"]), true), None);
        let kept = |pooled: bool| Value::Object(semantic(SPEC.fields, &config(json!(["dice"]), pooled)));
        let before = json!({ "metrics": ["dice"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5 });
        assert_eq!(kept(false), before);
        assert_ne!(kept(true), before);
    }
}
