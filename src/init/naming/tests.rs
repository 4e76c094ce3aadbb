//! Names of files as sets have them, and the patterns that they come to.

use super::*;

fn called(scan: &str, label: &str) -> Option<(String, Option<String>)> {
    common(Path::new(scan), Path::new(label)).map(|called| (called.case, called.structure))
}

fn case(name: &str) -> Option<(String, Option<String>)> {
    Some((name.to_owned(), None))
}

#[test]
fn a_case_is_what_names_have_in_common() {
    assert_eq!(called("imagesTr/a_1_0000.nii.gz", "labelsTr/a_1.nii.gz"), case("a_1"));
    assert_eq!(called("images/a.nii", "labels/a.nii.gz"), case("a"));
    assert_eq!(called("volume-3.nii", "segmentation-3.nii"), case("3"));
    assert_eq!(called("Case00.mhd", "Case00_segmentation.mhd"), case("Case00"));
    assert_eq!(called("B/B_t1ce.nii.gz", "B/B_seg.nii.gz"), case("B"));
    assert_eq!(called("x.nrrd", "x.seg.nrrd"), case("x"));
    assert_eq!(called("p1/image.nii.gz", "p1/mask.nii.gz"), case("p1"));
    let liver = Some(("s1".to_owned(), Some("liver".to_owned())));
    assert_eq!(called("s1/ct.nii.gz", "s1/segmentations/liver.nii.gz"), liver);
    assert_eq!(called("a.nii", "b.nii"), None);
    let verse = "derivatives/sub-verse4/sub-verse4_seg-vert_msk.nii.gz";
    assert_eq!(called("rawdata/sub-verse4/sub-verse4_ct.nii.gz", verse), case("sub-verse4"));
    assert_eq!(called("sub-1/sub-1_ses-2_T1w.nii", "derivatives/x/sub-1_ses-2_msk.nii"), case("sub-1_ses-2"));
}

fn pattern(pairs: &[(&str, &str)], of_labels: bool) -> String {
    let templates: Vec<_> = pairs
        .iter()
        .map(|(scan, label)| {
            let called = common(Path::new(scan), Path::new(label))?;
            Template::of(Path::new(if of_labels { label } else { scan }), &called)
        })
        .collect();
    patterns(&templates).remove(0).text
}

#[test]
fn files_of_one_kind_have_one_pattern() {
    let both = |pairs: &[(&str, &str)]| [pattern(pairs, false), pattern(pairs, true)];
    assert_eq!(
        both(&[
            ("b1/volume-1.nii", "b1/segmentation-1.nii"),
            ("b2/volume-2.nii.gz", "b2/segmentation-2.nii")
        ]),
        ["*/volume-{case}.nii*", "*/segmentation-{case}.nii"]
    );
    assert_eq!(
        both(&[("volume-1.nii", "segmentation-1.nii"), ("b2/volume-2.nii", "b2/segmentation-2.nii")]),
        ["**/volume-{case}.nii", "**/segmentation-{case}.nii"]
    );
    assert_eq!(
        both(&[
            ("s1/ct.nii.gz", "s1/segmentations/liver.nii.gz"),
            ("s2/ct.nii.gz", "s2/segmentations/l.nii.gz")
        ]),
        ["{case}/ct.nii.gz", "{case}/segmentations/{label}.nii.gz"]
    );
    assert_eq!(
        both(&[
            ("raw/sub-1/s1/a.nii", "der/sub-1/s1/a_seg.nii"),
            ("raw/sub-2/s2/b.nii", "der/sub-2/s2/b_seg.nii")
        ]),
        ["raw/{patient}/*/{case}.nii", "der/{patient}/*/{case}_seg.nii"]
    );
}

#[test]
fn patterns_of_channels_differ_in_one_word() {
    let of = |texts: &[&str]| {
        let pattern =
            |text: &&str| Pattern { text: (*text).to_owned(), stem: String::new(), members: vec![] };
        channels(&texts.iter().map(pattern).collect::<Vec<_>>())
    };
    let found = |text: &str, words: &[&str]| {
        Some((text.to_owned(), words.iter().map(|word| (*word).to_owned()).collect()))
    };
    assert_eq!(
        of(&["imagesTr/{case}_0000.nii.gz", "imagesTr/{case}_0001.nii.gz"]),
        found("imagesTr/{case}_{channel}.nii.gz", &["0000", "0001"])
    );
    assert_eq!(
        of(&["{case}/{case}_t1.nii.gz", "{case}/{case}_t1ce.nii.gz", "{case}/{case}_flair.nii.gz"]),
        found("{case}/{case}_{channel}.nii.gz", &["t1", "t1ce", "flair"])
    );
    assert_eq!(of(&["{case}/t1.nii", "{case}/t2.nii"]), found("{case}/{channel}.nii", &["t1", "t2"]));
    assert_eq!(of(&["a/{case}.nii"]), None);
    assert_eq!(of(&["{case}.nii", "{case}_t2.nii"]), None);
    assert_eq!(of(&["x/{case}.nii", "y/{case}/t2.nii"]), None);
    assert_eq!(of(&["x/{case}.nii", "x/{case}.mha"]), None);
    assert_eq!(of(&["x/{case}.nii*", "x/{case}.mha"]), None);
}

#[test]
fn files_of_another_ending_go_with_those_of_their_name() {
    let pattern = |text: &str, stem: &str, members: &[usize]| Pattern {
        text: text.to_owned(),
        stem: stem.to_owned(),
        members: members.to_vec(),
    };
    let of = |cases: &[&str]| {
        let (nii, mha) = (pattern("{case}.nii", "{case}", &[0, 1]), pattern("{case}.mha", "{case}", &[2]));
        let other = pattern("{case}_b.nii", "{case}_b", &[3]);
        let cases: Vec<String> = cases.iter().map(|case| (*case).to_owned()).collect();
        let (kept, taken) = other_endings(vec![nii, mha, other], |place| cases[place].clone());
        let members: Vec<usize> = kept.iter().map(|pattern| pattern.members.len()).collect();
        (members, taken.values().flatten().cloned().collect::<Vec<_>>())
    };
    assert_eq!(of(&["a", "b", "c", "d"]), (vec![3, 1], vec!["{case}.mha".to_owned()]));
    // Where both are there of one case, nobody knows which is meant.
    assert_eq!(of(&["a", "b", "b", "d"]), (vec![2, 1, 1], Vec::new()));
}

#[test]
fn files_are_left_out_by_their_ends() {
    let of = |files: &[&str], others: &[&str]| {
        let others: Vec<&Path> = others.iter().map(Path::new).collect();
        by_end(files.iter().map(Path::new), &others)
    };
    assert_eq!(of(&["a/p1_4d.nii", "b/p2_4d.nii"], &["a/p1_frame01.nii"]), ["!**/*_4d.nii"]);
    assert_eq!(of(&["a/all.nii"], &["a/one.nii"]), ["!**/all.nii"]);
    assert!(of(&["a_1.nii"], &["b_1.nii"]).is_empty());
}

#[test]
fn a_case_within_a_word_is_none() {
    assert_eq!(with_case("volume-1-of-11", "1"), Some("volume-{case}-of-11".to_owned()));
    assert_eq!(with_case("v11", "1"), None);
    assert_eq!(with_case("x{1}_7", "7"), Some("x?1?_{case}".to_owned()));
    assert_eq!(any_case("{case}/{label}_x.nii"), "*/*_x.nii");
}
