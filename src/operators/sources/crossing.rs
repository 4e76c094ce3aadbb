//! Labels that cross: neither is a part of the other, and a voxel may be of both. Each set of such labels is a value of
//! its own in a label map, after those of the labels.

use std::collections::{BTreeMap, BTreeSet};

use tomoflow_connectors::{Beside, LabelMap, Overlap, Reject};

use super::overlaps;
use crate::operators::source::value_names;
use crate::operators::spec::{Config, Default, Field, FieldKind, FieldProblem, Role};

/// The field for which labels may share voxels.
pub const CROSSES: Field = Field {
    name: "crosses",
    kind: FieldKind::List { of: &FieldKind::List { of: &FieldKind::Text, len: None }, len: None },
    default: Default::Json("[]"),
    role: Role::SemanticLater,
    doc: "The labels that may share voxels though none is a part of the other: `[[\"tumour\", \"oedema\"]]`. A shared voxel is \
          then of each of a list's labels that was drawn there: `train` with `activation = \"sigmoid\"` learns each label's \
          own region, `evaluate` compares it, and `labels_as_masks` gives it. What takes one label for each voxel is refused \
          by `check`.",
};

/// The most values of a map that samples are cut from: a byte, less the background and the voxels that nobody labelled.
const MOST: usize = 254;

/// Returns the sets of labels that a declaration lets cross, of labels of which each holds those of `nested`.
///
/// # Errors
/// Names that no label has, lists of fewer than two labels, labels of which one holds the other, and more sets than a map
/// has values for.
pub fn declared(
    config: &Config,
    labels: &[String],
    nested: &[Vec<u16>],
) -> Result<Vec<Vec<u16>>, Vec<FieldProblem>> {
    let lists = config.get(CROSSES.name).and_then(|lists| lists.as_array());
    let (mut sets, mut problems) = (BTreeSet::new(), Vec::new());
    let mut problem =
        |message: String, hint: &str| problems.push(FieldProblem::new(CROSSES.name, message, hint));
    for list in lists.into_iter().flatten() {
        let names: Vec<&str> =
            list.as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        let mut group = BTreeSet::new();
        for name in &names {
            match labels.iter().position(|label| label == name) {
                Some(place) => drop(group.insert(place as u16 + 1)),
                None => {
                    problem(format!("one of the labels {} expected, `{name}` found", labels.join(", ")), "")
                }
            }
        }
        let holds = |a: &u16, b: &u16| nested.get(usize::from(*a) - 1).is_some_and(|parts| parts.contains(b));
        if let Some((a, b)) = pairs(&group).find(|(a, b)| holds(a, b) || holds(b, a)) {
            let [a, b] = [a, b].map(|label| &labels[usize::from(label) - 1]);
            let message = format!("labels of which none holds another expected, one of `{a}` and `{b}` does");
            problem(message, "a part of a label is one of `holds` alone");
        }
        if group.len() < 2 {
            problem(format!("two labels or more expected, {} found", group.len()), "");
        } else if group.len() > 7 {
            let message = format!("at most 7 labels that cross each other expected, {} found", group.len());
            problem(message, "name the pairs that do: `[[\"a\", \"b\"], [\"b\", \"c\"]]`");
        } else {
            sets.extend(subsets(&group.into_iter().collect::<Vec<_>>()));
        }
    }
    let sets: Vec<Vec<u16>> = sets.into_iter().collect();
    if let Some(message) = unfit(labels, &sets) {
        problem(message, "let fewer labels cross, or call them otherwise");
    }
    if problems.is_empty() { Ok(sets) } else { Err(problems) }
}

/// What is wrong with sets of these labels, if anything: more of them than a map has values for, or one's name, which
/// a label has.
pub fn unfit(labels: &[String], sets: &[Vec<u16>]) -> Option<String> {
    let names = value_names(labels, sets);
    if names.len() > MOST && !sets.is_empty() {
        let (labels, sets) = (labels.len(), sets.len());
        return Some(format!(
            "at most {MOST} labels and sets of labels that cross expected, {labels} labels and {sets} sets found"
        ));
    }
    let own = names.iter().skip(labels.len()).find(|name| labels.contains(name))?;
    Some(format!("labels of other names than that of a set expected, `{own}` found"))
}

fn pairs(group: &BTreeSet<u16>) -> impl Iterator<Item = (u16, u16)> {
    let of = |a: u16| group.iter().copied().filter(move |b| *b > a).map(move |b| (a, b));
    group.iter().copied().flat_map(of)
}

/// All sets of two or more of these labels, which are few.
fn subsets(group: &[u16]) -> Vec<Vec<u16>> {
    let chosen = |bits: u32| (0..).zip(group).filter(move |(place, _)| bits >> place & 1 == 1);
    let all = (0..1u32 << group.len().min(16)).filter(|bits| bits.count_ones() > 1);
    all.map(|bits| chosen(bits).map(|(_, label)| *label).collect()).collect()
}

/// Labels that may share voxels.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// Sets of labels, ascending, none of which holds another of the set.
    sets: Vec<Vec<u16>>,
    /// The parts of each label, and the values of sets that lie within it; empty when none has any.
    nested: Vec<Vec<u16>>,
    /// The labels that lie within all labels of a value, for each value from 1 on.
    parts: Vec<Vec<u16>>,
    /// What becomes of a voxel that has the second value when the first label is put onto it, where both stay.
    joins: BTreeMap<(u16, u16), u16>,
    /// What two values of which one is a set have in common.
    common: BTreeMap<(u16, u16), u16>,
}

impl Shares {
    /// So many labels, of which each holds those of `nested`, and the sets of them that voxels may have.
    pub fn new(labels: usize, nested: Vec<Vec<u16>>, sets: Vec<Vec<u16>>) -> Self {
        if sets.is_empty() {
            return Self { parts: nested.clone(), nested, ..Self::default() };
        }
        let holds = |a: u16, b: u16| nested.get(usize::from(a) - 1).is_some_and(|parts| parts.contains(&b));
        let singles = (1..=labels as u16).map(|label| vec![label]);
        let values: Vec<Vec<u16>> = singles.chain(sets.iter().cloned()).collect();
        let value_of = |set: &[u16]| values.iter().position(|known| known == set).map(|at| at as u16 + 1);
        let (mut joins, mut common) = (BTreeMap::new(), BTreeMap::new());
        for (value, set) in (1..).zip(&values) {
            for label in 1..=labels as u16 {
                let others = set.iter().copied().filter(|other| *other != label && !holds(*other, label));
                let mut both: Vec<u16> = others.chain([label]).collect();
                both.sort_unstable();
                // What is alone is put onto the others, as ever.
                if let (Some(becomes), true) = (value_of(&both), both.len() > 1) {
                    joins.insert((label, value), becomes);
                }
            }
            for (other, of_other) in (1..).zip(&values).filter(|(other, _)| *other != value) {
                let shared: Vec<u16> = set.iter().copied().filter(|label| of_other.contains(label)).collect();
                common.extend(value_of(&shared).map(|shared| ((value, other), shared)));
            }
        }
        let parts_of = |set: &Vec<u16>| -> Vec<u16> {
            let within = |part: &u16| set.iter().all(|label| holds(*label, *part));
            (1..=labels as u16).filter(within).collect()
        };
        let lies_in = |set: &[u16], label: u16| set.iter().any(|own| *own == label || holds(label, *own));
        let of_label = |label: u16| -> Vec<u16> {
            let parts = nested.get(usize::from(label) - 1).cloned().unwrap_or_default();
            let within = (labels as u16 + 1..).zip(&sets).filter(|(_, set)| lies_in(set, label));
            parts.into_iter().chain(within.map(|(value, _)| value)).collect()
        };
        let with_sets = (1..=labels as u16).map(of_label).collect();
        let parts = values.iter().map(parts_of).collect();
        Self { nested: with_sets, parts, joins, common, sets }
    }

    /// The same of a map whose values say it: for each label the values that lie within it, and the sets.
    pub fn of_map(nested: Vec<Vec<u16>>, sets: Vec<Vec<u16>>) -> Self {
        Self { nested, sets, ..Self::default() }
    }

    /// The sets, in the order of their values.
    pub fn sets(&self) -> &[Vec<u16>] {
        &self.sets
    }

    /// For each label from 1 on, the values that lie within it.
    pub fn nested(&self) -> &[Vec<u16>] {
        &self.nested
    }

    /// An empty count of what labels share, which keeps what they may.
    pub fn overlap(&self) -> Overlap {
        Overlap::keeping(self.joins.clone(), self.common.clone())
    }

    /// Returns what is told of labels that share voxels, and of parts beyond what holds them. Labels that are `absent` are
    /// unknown.
    pub fn told(&self, over: &Overlap, labels: &[String], absent: &[u16]) -> Vec<Reject> {
        let names = value_names(labels, &self.sets);
        let shared = overlaps::told(over, &names, &self.parts);
        shared.into_iter().chain(overlaps::told_outside(over, &names, &self.nested, absent)).collect()
    }

    /// What lies beside a scan, without labels that a set of them shows.
    pub fn shown(&self, mut beside: Beside, drawn: &LabelMap) -> Beside {
        if !self.sets.is_empty() && !beside.vanished.is_empty() {
            let there: BTreeSet<u16> = drawn.voxels().iter().copied().collect();
            let first = self.nested.len() as u16 + 1;
            let shows = |label: u16| {
                let within = self.nested.get(usize::from(label).wrapping_sub(1)).into_iter().flatten();
                within.into_iter().any(|value| *value >= first && there.contains(value))
            };
            beside.vanished.retain(|(label, _)| !shows(*label));
        }
        beside
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Puts runs of labels onto six voxels, one after the other.
    fn put(shares: &Shares, runs: &[(u16, std::ops::Range<usize>)]) -> ([u16; 6], Overlap) {
        let (mut voxels, mut over) = ([0; 6], shares.overlap());
        runs.iter().for_each(|(label, run)| over.put(*label, &mut voxels[run.clone()]));
        (voxels, over)
    }

    #[test]
    fn sets_are_declared_by_the_names_of_their_labels() {
        let labels = names(&["a", "b", "c"]);
        let of = |crosses: serde_json::Value, nested: &[Vec<u16>]| {
            declared(json!({ "crosses": crosses }).as_object().unwrap(), &labels, nested)
        };
        assert!(of(json!([]), &[]).unwrap().is_empty());
        let all = of(json!([["c", "a", "b"]]), &[]).unwrap();
        assert_eq!(all, [vec![1, 2], vec![1, 2, 3], vec![1, 3], vec![2, 3]]);
        assert_eq!(of(json!([["a", "b"], ["c", "b"], ["b", "a"]]), &[]).unwrap(), [vec![1, 2], vec![2, 3]]);
        assert_eq!(value_names(&labels, &[vec![1, 3]]), ["a", "b", "c", "a & c"]);
        let nested = [vec![2], vec![], vec![]];
        for (wrong, word) in [
            (json!([["a", "x"]]), "`x` found"),
            (json!([["a"]]), "1 found"),
            (json!([["a", "b"]]), "`a` and `b`"),
        ] {
            let problems = of(wrong, &nested).unwrap_err();
            assert!(problems.iter().any(|one| one.field == "crosses" && one.message.contains(word)));
        }
        let many: Vec<String> = (0..8).map(|label| format!("l{label}")).collect();
        let config = json!({ "crosses": [many] });
        assert!(declared(config.as_object().unwrap(), &many, &[]).is_err());
        let taken = names(&["a", "b", "a & b"]);
        let config = json!({ "crosses": [["a", "b"]] });
        assert!(declared(config.as_object().unwrap(), &taken, &[]).is_err());
    }

    #[test]
    fn what_labels_share_is_of_both() {
        // Of labels 1 to 3, 1 and 2 may cross, which is value 4.
        let shares = Shares::new(3, Vec::new(), vec![vec![1, 2]]);
        let (voxels, over) = put(&shares, &[(1, 0..3), (2, 2..5), (2, 1..3), (3, 4..6)]);
        assert_eq!(voxels, [1, 4, 4, 2, 3, 3]);
        assert_eq!(shares.nested(), [vec![4], vec![4], vec![]]);
        // What was not declared is the later label's, and told.
        let told: Vec<Reject> = shares.told(&over, &names(&["a", "b", "c"]), &[]);
        assert_eq!((told.len(), told[0].code.as_str()), (1, "LABELS_OVERLAP"));
        assert!(told[0].message.contains("1 of `b` are `c` as well"), "{}", told[0]);
        assert!(!told[0].message.contains("`a`"), "{}", told[0]);
        // Halfway between two slices is what both have.
        assert_eq!([over.both(1, 4), over.both(4, 2), over.both(1, 2), over.both(4, 4)], [1, 2, 0, 4]);
        // Without sets it is as ever.
        let plain = Shares::new(3, Vec::new(), Vec::new());
        assert_eq!(put(&plain, &[(1, 0..3), (2, 2..5)]).0, [1, 1, 2, 2, 2, 0]);
        assert!(plain.nested().is_empty() && plain.overlap() == Overlap::default());
    }

    #[test]
    fn three_labels_share_a_voxel() {
        let sets = vec![vec![1, 2], vec![1, 2, 3], vec![1, 3], vec![2, 3]];
        let shares = Shares::new(3, Vec::new(), sets);
        let (voxels, over) = put(&shares, &[(1, 0..4), (2, 1..5), (3, 2..6)]);
        assert_eq!(voxels, [1, 4, 5, 5, 7, 3]);
        assert!(shares.told(&over, &names(&["a", "b", "c"]), &[]).is_empty());
    }

    #[test]
    fn a_part_crosses_what_its_whole_does_not() {
        // The liver holds its lesion, and a vessel crosses the lesion and the liver: values 4 and 5.
        let labels = names(&["liver", "vessel", "lesion"]);
        let nested = vec![vec![3], vec![], vec![]];
        let shares = Shares::new(3, nested, vec![vec![1, 2], vec![2, 3]]);
        let (voxels, over) = put(&shares, &[(1, 0..4), (2, 1..6), (3, 2..5)]);
        assert_eq!(voxels, [1, 4, 5, 5, 5, 2]);
        assert_eq!(shares.nested(), [vec![3, 4, 5], vec![4, 5], vec![5]]);
        // One voxel of the lesion lies in the vessel, and not in the liver.
        let told: Vec<Reject> = shares.told(&over, &labels, &[]);
        assert_eq!((told.len(), told[0].code.as_str()), (1, "PART_OUTSIDE"));
        assert!(told[0].message.ends_with("1 of 3 voxels of `lesion` lie outside of `liver`"), "{}", told[0]);
    }
}
