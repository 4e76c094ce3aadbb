//! Labels that are not what was asked for: a row with a name, and never an empty truth.

use std::collections::BTreeSet;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};

fn all(rows: &BTreeSet<String>, words: &[&str]) -> bool {
    rows.iter().all(|row| words.iter().all(|word| row.contains(word)))
}

#[test]
fn a_structure_that_no_file_has_labels_nothing() {
    let mut place = Workplace::new(2);
    let asked = place.text.clone();
    place.text = place.text.rewrite(r#"["TV"]"#, r#"["lesion*", "nodule"]"#);
    let summary = place.run();
    assert_eq!((ran(&summary, "scores"), summary.accepted), (0, 2), "{summary}");
    let tables = place.tables();
    assert!(all(&tables["cases"], &[r#""labelled":false"#]), "{:?}", tables["cases"]);
    assert!(all(&tables["rejects"], &["NO_STRUCTURE", "lesion*", "TV"]), "{:?}", tables["rejects"]);
    assert_eq!((tables["rejects"].len(), tables["metrics"].len()), (2, 0));
    assert!(!tables["masks"].is_empty());

    place.text = asked;
    assert_eq!(ran(&place.run(), "scores"), 2);
    let tables = place.tables();
    assert!(all(&tables["cases"], &[r#""labelled":true"#]), "{:?}", tables["cases"]);
    assert!(tables["rejects"].is_empty(), "{:?}", tables["rejects"]);
    assert_eq!(tables, place.anew());
}

#[test]
fn a_label_that_no_file_has_leaves_the_others() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite(r#"{ tumour = ["TV"] }"#, r#"{ tumour = ["TV"], cyst = ["cyst"] }"#);
    place.run();
    let tables = place.tables();
    assert!(all(&tables["cases"], &[r#""labelled":true"#]), "{:?}", tables["cases"]);
    assert_eq!(tables["rejects"].len(), 2);
    assert!(all(&tables["rejects"], &["NO_STRUCTURE", "cyst", "TV"]), "{:?}", tables["rejects"]);
}
