//! What a walk finds, in which order, and what it passes over.

use std::ffi::OsStr;

use super::*;

#[test]
fn files_are_sorted_and_links_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("b")).unwrap();
    std::fs::write(root.join("b/2"), "two").unwrap();
    std::fs::write(root.join("c"), "three").unwrap();
    std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
    std::os::unix::fs::symlink(root.join("c"), root.join("a")).unwrap();
    let files = walk(root).unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.path.strip_prefix(root).unwrap()).collect();
    assert_eq!(paths, [Path::new("b/2"), Path::new("c")]);
    assert_eq!(files[0].size, 3);
    assert!(files[0].mtime_ns > 0);
}

#[test]
fn paths_alone_are_those_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["b/2", "b/1", "a", "c.d/x"] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), "x").unwrap();
    }
    std::os::unix::fs::symlink(root, root.join("b/loop")).unwrap();
    let files = walk(root).unwrap().into_iter().map(|file| file.path);
    assert!(Walk::paths(root).unwrap().eq(files));
    assert_eq!(Walk::paths(&root.join("a")).unwrap().count(), 1);
    assert!(Walk::paths(&root.join("missing")).is_err());
}

#[test]
fn the_order_is_that_of_bytes_at_any_depth() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let names = ["a-b", "a.b/1", "a/1", "a/b/c/1", "a/b1", "a0", "b/2"];
    for name in names {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), "x").unwrap();
    }
    let files = walk(root).unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.path.strip_prefix(root).unwrap()).collect();
    assert_eq!(paths, names.map(Path::new));
}

#[test]
fn more_folders_than_are_listed_at_once_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut expected = Vec::new();
    for patient in 0..3 * AHEAD {
        // The depths are uneven, so that what is listed ahead ends at many places.
        let folder = root.join(format!("p{patient}")).join("x".repeat(1 + patient % 3));
        let folder = if patient % 2 == 0 { folder.join("deep") } else { folder };
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..patient % 4 {
            let path = folder.join(format!("{file}"));
            std::fs::write(&path, "x").unwrap();
            expected.push(path);
        }
    }
    expected.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let paths: Vec<PathBuf> = walk(root).unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(paths, expected);
}

#[test]
fn a_folder_can_be_left_out_and_the_next_file_seen_before_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["a/out/1", "a/outer", "b"] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), "x").unwrap();
    }
    let mut walk = Walk::new(root).unwrap().without(&root.join("a/out"));
    assert_eq!(walk.peek().unwrap().path, root.join("a/outer"));
    let paths: Vec<PathBuf> = walk.by_ref().map(|file| file.path).collect();
    assert_eq!(paths, [root.join("a/outer"), root.join("b")]);
    assert!(walk.peek().is_none() && walk.notes().is_empty());
    assert_eq!(Walk::new(&root.join("a/out")).unwrap().without(&root.join("a")).count(), 0);
}

#[test]
fn a_missing_root_is_an_error_and_a_file_is_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.dcm");
    assert!(walk(&path).is_err());
    std::fs::write(&path, "x").unwrap();
    assert_eq!(walk(&path).unwrap().len(), 1);
}

/// The files that a walk finds, below its root.
fn found(root: &Path, change: impl FnOnce(Walk) -> Walk) -> (Vec<PathBuf>, PassedOver, Vec<PathBuf>) {
    let mut walk = change(Walk::new(root).unwrap());
    let files: Vec<PathBuf> =
        walk.by_ref().map(|file| file.path.strip_prefix(root).unwrap().to_owned()).collect();
    let passed = walk.passed_over().clone();
    let notes =
        walk.notes().into_iter().map(|note| note.path.strip_prefix(root).unwrap().to_owned()).collect();
    (files, passed, notes)
}

fn tree(files: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    for (link, target) in links {
        let path = folder.path().join(link);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    folder
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn links_are_followed_to_files_and_folders_once() {
    let files = ["root/a", "root/z/1", "store/x", "store/deep/y", "other"];
    let links = [
        ("root/b", "../store/x"),
        // These links lead to the same file, and to the folder that holds it.
        ("root/c", "../store/x"),
        ("root/d", "../store"),
        ("root/e", "../store/deep"),
        // These lead to what is looked at anyway, whatever comes first.
        ("root/0", "z/1"),
        ("root/1", "z"),
        ("root/f", "../gone"),
        ("root/g", "g"),
    ];
    let folder = tree(&files, &links);
    let (files, passed, notes) = found(&folder.path().join("root"), |walk| walk);
    assert_eq!(files, paths(&["a", "b", "e/y", "z/1"]));
    assert_eq!((passed.again.count, passed.above.count, passed.special.count), (5, 0, 0));
    assert_eq!(notes, paths(&["f", "g"]));
    assert_eq!(found(&folder.path().join("root"), Walk::without_links).0, paths(&["a", "z/1"]));
}

#[test]
fn loops_end_and_folders_above_the_root_are_not_taken_in() {
    let links = [
        ("root/a/to_b", "../b"),
        ("root/b/to_a", "../a"),
        ("root/a/up", ".."),
        ("root/a/above", "../.."),
        ("out/back", "../root"),
        ("root/b/out", "../../out"),
    ];
    let folder = tree(&["root/a/1", "root/b/2", "beside", "out/3"], &links);
    for naming in [false, true] {
        let (files, passed, notes) = found(&folder.path().join("root"), |walk| match naming {
            true => walk.naming(std::sync::Arc::new(|_| Named::Itself)),
            false => walk,
        });
        assert_eq!(files, paths(&["a/1", "b/2", "b/out/3"]), "{naming}");
        // A link to a folder above counts under each name of a folder where names may count.
        assert_eq!(passed.above.count, if naming { 5 } else { 3 }, "{naming}");
        assert!(notes.is_empty());
    }
}

#[test]
fn names_say_whether_a_link_counts_beside_its_target() {
    let files = ["root/store/1.nii", "root/.git/x", "root/store/2.raw", "root/c9.nii", "keys/1"];
    let links = [
        // The file that this leads to has a name of its own.
        ("root/again.nii", "c9.nii"),
        // The file that this leads to has no name that says anything.
        ("root/c2.nii", "store/2.raw"),
        ("root/c3.nii", ".git/x"),
        // These are two names for one content, as stores by content give them.
        ("root/c4.nii", "../keys/1"),
        ("root/c5.nii", "../keys/1"),
        ("root/label.nii.seg", "c9.nii"),
    ];
    let folder = tree(&files, &links);
    let names: Names = std::sync::Arc::new(|path| match path.extension().and_then(OsStr::to_str) {
        Some("nii") => Named::Itself,
        Some("seg") => Named::Apart,
        _ => Named::Nothing,
    });
    let (files, passed, _) = found(&folder.path().join("root"), |walk| walk.naming(names));
    let expected =
        ["c2.nii", "c3.nii", "c4.nii", "c5.nii", "c9.nii", "label.nii.seg", "store/1.nii", "store/2.raw"];
    assert_eq!(files, paths(&expected));
    assert_eq!((passed.again.count, passed.versions.count), (1, 1));
    assert_eq!(passed.lines(Some(&folder.path().join("root"))).len(), 2);
    assert!(passed.lines(Some(&folder.path().join("root")))[1].ends_with(": again.nii"));
    assert!(!passed.lines(None)[1].contains("nii"));
}

#[test]
fn no_link_leads_into_what_the_walker_writes() {
    let links =
        [("root/in", "../results/masks"), ("root/all", "../everything"), ("root/one", "../results/table")];
    let folder = tree(&["root/a", "results/masks/m", "results/table", "everything/b"], &links);
    std::os::unix::fs::symlink("../results", folder.path().join("everything/results")).unwrap();
    let own = folder.path().canonicalize().unwrap().join("results");
    let (files, ..) = found(&folder.path().join("root"), |walk| walk.without_places(&[own]));
    assert_eq!(files, paths(&["a", "all/b"]));
}

#[test]
fn the_first_names_are_the_same_whatever_comes_first() {
    let (mut one, mut two) = (Few::default(), Few::default());
    for name in ["d", "a", "c", "b"] {
        one.add(name.into());
    }
    for name in ["b", "c", "a", "d"] {
        two.add(name.into());
    }
    assert_eq!(one, two);
    assert_eq!((one.count, one.names(Path::new(""))), (4, "a, b, c, …".to_owned()));
}
