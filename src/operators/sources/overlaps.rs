//! What is told of labels that share voxels, whatever they were drawn from.

use tomoflow_connectors::{Overlap, Reject};

/// The row of labels that share voxels, but for those that are declared as a part of another (`nested`, for each label
/// from 1 on); none where no others do.
pub fn told(overlap: &Overlap, names: &[String], nested: &[Vec<u16>]) -> Option<Reject> {
    let place = |label: u16| usize::from(label).wrapping_sub(1);
    let name = |label: u16| names.get(place(label)).map_or("", String::as_str);
    let part =
        |(has, had): (u16, u16)| nested.get(place(had)).is_some_and(|parts: &Vec<u16>| parts.contains(&has));
    let shared = overlap.iter().filter(|(pair, _)| !part(*pair));
    let listed = |((has, had), voxels): ((u16, u16), usize)| {
        format!("{voxels} of `{}` are `{}` as well", name(had), name(has))
    };
    let listed: Vec<String> = shared.map(listed).collect();
    let message =
        || format!("voxels of one label each expected, {}; they count as the latter", listed.join(", "));
    let hint = "where one is a part of the other, say so: `holds = { liver = [\"lesion\"] }`";
    (!listed.is_empty()).then(|| Reject::new("LABELS_OVERLAP", message(), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_part_is_no_overlap() {
        let names = ["liver", "lesion", "cyst"].map(str::to_owned);
        let mut overlap = Overlap::default();
        let mut voxels = [1, 1, 1, 0, 2];
        overlap.put(2, &mut voxels[1..3]);
        overlap.put(3, &mut voxels[2..]);
        assert_eq!(voxels, [1, 2, 3, 3, 3]);
        let all = told(&overlap, &names, &[]).unwrap();
        assert_eq!(all.code, "LABELS_OVERLAP");
        assert!(all.message.contains("2 of `liver` are `lesion` as well, 2 of `lesion` are `cyst`"), "{all}");
        let some = told(&overlap, &names, &[vec![2], vec![], vec![]]).unwrap();
        assert!(!some.message.contains("liver") && some.message.contains("`cyst`"), "{some}");
        assert_eq!(told(&overlap, &names, &[vec![2, 3], vec![3], vec![]]), None);
    }
}
