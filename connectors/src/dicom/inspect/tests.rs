//! Roots and listeners of an inspection.

use super::*;

#[test]
fn roots_inside_of_others_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("a/b"));
    std::fs::create_dir_all(&b).unwrap();
    let ab = folder.path().join("ab");
    std::fs::create_dir(&ab).unwrap();
    let twice = folder.path().join("ab/../a");
    // A mistyped folder below a root must not go unnoticed.
    let missing = folder.path().join("a/missing");
    let roots = [b, a.clone(), twice, ab.clone(), missing.clone()];
    assert_eq!(distinct_roots(&roots), [a.as_path(), &ab, &missing]);
}

#[test]
fn a_listener_can_break_off() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "no image").unwrap();
    std::fs::write(folder.path().join("b"), "").unwrap();
    let mut told = 0;
    let total = inspect(&[folder.path().to_owned()], InspectOptions::default(), &mut |_| {
        told += 1;
        ControlFlow::Break(())
    });
    assert_eq!((total.unwrap(), told), (None, 1));
}
