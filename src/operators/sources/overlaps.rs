//! What is told of labels that share voxels, whatever they were drawn from.

use tomoflow_connectors::{Overlap, Reject};

/// The row of labels that share voxels, but for those that may, and those that are declared as a part of another
/// (`nested`, for each label from 1 on); none where no others do.
pub fn told(overlap: &Overlap, names: &[String], nested: &[Vec<u16>]) -> Option<Reject> {
    let place = |label: u16| usize::from(label).wrapping_sub(1);
    let name = |label: u16| names.get(place(label)).map_or("", String::as_str);
    let part =
        |(has, had): (u16, u16)| nested.get(place(had)).is_some_and(|parts: &Vec<u16>| parts.contains(&has));
    let shared = overlap.iter().filter(|(pair, _)| !part(*pair) && !overlap.keeps(*pair));
    let listed = |((has, had), voxels): ((u16, u16), usize)| {
        format!("{voxels} of `{}` are `{}` as well", name(had), name(has))
    };
    let listed: Vec<String> = shared.map(listed).collect();
    let message =
        || format!("voxels of one label each expected, {}; they count as the latter", listed.join(", "));
    let hint = "where one is a part of the other, say so: `holds = { liver = [\"lesion\"] }`; where they cross and each is to \
                be learned and scored as it was drawn: `crosses = [[\"tumour\", \"oedema\"]]`, with `activation = \"sigmoid\"`";
    (!listed.is_empty()).then(|| Reject::new("LABELS_OVERLAP", message(), hint))
}

/// The row of parts that lie outside of what is declared to hold them (`nested`, for each label from 1 on), whose region
/// grows by them; none where all lie within. Labels that are `absent` are unknown, and have no region.
pub fn told_outside(
    overlap: &Overlap,
    names: &[String],
    nested: &[Vec<u16>],
    absent: &[u16],
) -> Option<Reject> {
    let name = |label: u16| names.get(usize::from(label).wrapping_sub(1)).map_or("", String::as_str);
    let mut listed = Vec::new();
    for (whole, parts) in (1..).zip(nested).filter(|(whole, _)| !absent.contains(whole)) {
        // A label that lies in another part of the same one is within.
        let within: Vec<u16> = parts.iter().copied().chain([whole]).collect();
        for part in parts {
            let [outside, all] = overlap.outside(*part, &within);
            if outside > 0 {
                let (part, whole) = (name(*part), name(whole));
                listed.push(format!("{outside} of {all} voxels of `{part}` lie outside of `{whole}`"));
            }
        }
    }
    let message = || format!("parts within what holds them expected, {}", listed.join(", "));
    let hint = "the truth of what holds them grows by these voxels: look at the labels, or leave out `holds`";
    (!listed.is_empty()).then(|| Reject::new("PART_OUTSIDE", message(), hint))
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

    #[test]
    fn a_part_beyond_what_holds_it_is_told_with_its_voxels() {
        let names = ["liver", "lesion", "core"].map(str::to_owned);
        let nested = [vec![2, 3], vec![3], vec![]];
        let mut overlap = Overlap::default();
        let mut voxels = [1, 1, 1, 1, 0, 0, 0];
        overlap.put(2, &mut voxels[2..6]);
        overlap.put(3, &mut voxels[3..5]);
        // The core lies within the lesion, and what of that lies outside is the lesion's.
        let told = told_outside(&overlap, &names, &nested, &[]).unwrap();
        assert_eq!(told.code, "PART_OUTSIDE");
        assert!(
            told.message.ends_with("expected, 2 of 4 voxels of `lesion` lie outside of `liver`"),
            "{told}"
        );
        assert_eq!(told_outside(&overlap, &names, &nested, &[1]), None);
        assert_eq!(told_outside(&overlap, &names, &[], &[]), None);
        let mut within = Overlap::default();
        within.put(2, &mut [1, 1]);
        assert_eq!(told_outside(&within, &names, &nested, &[]), None);
    }
}
