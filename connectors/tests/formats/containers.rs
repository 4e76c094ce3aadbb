//! A `.zip` or `.tar` is read as a folder of its members.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tomoflow_connectors::container::{left_out, members, read, stat};
use tomoflow_connectors::dicom::{Walk, walk};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const FILES: [(&str, &[u8]); 4] =
    [("b/2", b"two two two two two two two two"), ("a", b"one"), ("b-c", b""), ("b/1", b"first")];

fn write_zip(path: &Path, files: &[(&str, &[u8])], method: CompressionMethod) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn write_tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // The name is written as it is: the writer's own check of names would refuse what a test is about.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap();
}

/// A folder with the same files in a `.tar`, a packed `.zip` and a `.zip` that stores.
fn containers(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    write_tar(&at("it.tar"), files);
    write_zip(&at("packed.zip"), files, CompressionMethod::Deflated);
    write_zip(&at("stored.ZIP"), files, CompressionMethod::Stored);
    let paths = vec![at("it.tar"), at("packed.zip"), at("stored.ZIP")];
    (folder, paths)
}

#[test]
fn members_are_walked_in_order_and_read() {
    let (folder, containers) = containers(&FILES);
    fs::write(folder.path().join("it.tar0"), "a plain file").unwrap();
    let mut expected = vec![folder.path().join("it.tar0")];
    for container in &containers {
        let own: Vec<PathBuf> = walk(container).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(own, ["a", "b-c", "b/1", "b/2"].map(|name| container.join(name)));
        expected.extend(own);
        for (name, bytes) in FILES {
            let path = container.join(name);
            assert_eq!(read(&path).unwrap(), bytes);
            let file = stat(&path).unwrap();
            assert_eq!((file.size, &file.path), (bytes.len() as u64, &path));
            assert!(members(container).unwrap().contains(&file));
        }
        assert_eq!(read(&container.join("c")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(stat(&container.join("a/b")).unwrap_err().kind(), ErrorKind::NotFound);
    }
    expected.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let all: Vec<PathBuf> = walk(folder.path()).unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(all, expected);
}

#[test]
fn a_plain_file_is_no_container() {
    let (folder, _) = containers(&FILES);
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    assert_eq!(read(&plain).unwrap(), b"text");
    assert_eq!(stat(&plain).unwrap().size, 4);
    assert!(read(&plain.join("below")).is_err() && stat(&plain.join("below")).is_err());
    assert_eq!(read(&folder.path().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    // A folder may be called like one.
    fs::create_dir(folder.path().join("folder.zip")).unwrap();
    fs::write(folder.path().join("folder.zip/1"), "1").unwrap();
    assert_eq!(walk(&folder.path().join("folder.zip")).unwrap().len(), 1);
}

#[test]
fn a_changed_container_is_read_anew() {
    let (_folder, containers) = containers(&FILES);
    for container in &containers {
        let before = stat(&container.join("a")).unwrap();
        let other: [(&str, &[u8]); 1] = [("a", b"another, and longer")];
        // Another file takes its place, as copying programs leave it.
        let beside = container.with_extension("new");
        if container.extension().unwrap() == "tar" {
            write_tar(&beside, &other);
        } else {
            write_zip(&beside, &other, CompressionMethod::Deflated);
        }
        fs::rename(&beside, container).unwrap();
        assert_eq!(read(&container.join("a")).unwrap(), other[0].1);
        assert_ne!(stat(&container.join("a")).unwrap(), before);
        assert!(stat(&container.join("b/1")).is_err());
    }
}

#[test]
fn names_that_lead_out_are_left_out() {
    let (_folder, containers) =
        containers(&[("../out", b"1"), ("/root", b"2"), ("./in", b"3"), ("a/../../b", b"4")]);
    for container in &containers {
        let names: Vec<PathBuf> = members(container).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(names, [container.join("in")], "{}", container.display());
        assert_eq!(read(&container.join("in")).unwrap(), b"3");
        let outside = left_out(container).unwrap().outside;
        assert_eq!((outside.count, outside.first.len()), (3, 3));
        let mut walk = Walk::new(container).unwrap();
        assert_eq!(walk.by_ref().count(), 1);
        let lines = walk.passed_over().lines(Some(container));
        let told =
            "3 members of archives have names that are absolute or lead out of them, and were not read: ";
        assert!(lines.len() == 1 && lines[0].starts_with(told) && lines[0].contains("../out"), "{lines:?}");
    }
}

#[test]
fn what_of_a_tar_is_not_read_is_told_and_links_to_members_are_read() {
    use tar::EntryType::{Fifo, Link, Regular, Symlink, XHeader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.tar");
    let mut tar = tar::Builder::new(File::create(&path).unwrap());
    let mut add = |kind: tar::EntryType, name: &str, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    add(Regular, "scan", "", b"bytes of a scan");
    add(Link, "same", "./scan", b"");
    add(Link, "out", "../../scan", b"");
    add(Link, "none", "absent", b"");
    add(Symlink, "soft", "scan", b"");
    add(Fifo, "pipe", "", b"");
    add(XHeader, "pax", "", b"22 GNU.sparse.major=1\n");
    add(Regular, "holes", "", b"1\n0\n4\nfour");
    add(Regular, "twice", "", b"earlier");
    add(Regular, "twice", "", b"later");
    tar.into_inner().unwrap();
    let names: Vec<PathBuf> = members(&path).unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(names, ["same", "scan", "twice"].map(|name| path.join(name)));
    assert_eq!(read(&path.join("same")).unwrap(), b"bytes of a scan");
    assert_eq!(read(&path.join("twice")).unwrap(), b"later");
    let out = left_out(&path).unwrap();
    let counts = [&out.outside, &out.links, &out.sparse, &out.twice, &out.special].map(|few| few.count);
    assert_eq!(counts, [0, 3, 1, 1, 1], "{out:?}");
    assert_eq!(out.links.first, ["none", "out", "soft"].map(|name| path.join(name)));
    let mut walk = Walk::new(folder.path()).unwrap();
    assert_eq!(walk.by_ref().count(), 3);
    assert_eq!(walk.passed_over().lines(Some(folder.path())).len(), 4);
}

#[test]
fn members_of_a_zip_that_have_one_name_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.zip");
    write_zip(&path, &[("a", b"1"), ("b", b"2"), ("c", b"3")], CompressionMethod::Stored);
    // Others write one name as often as they like; the writer here refuses to.
    let mut bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() - 46 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => bytes[at + 30] = b'a',
            b"PK\x01\x02" => bytes[at + 46] = b'a',
            _ => {}
        }
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(members(&path).unwrap().len(), 1);
    let out = left_out(&path).unwrap();
    assert_eq!((out.twice.count, out.twice.first), (2, vec![path]));
}

#[test]
fn what_is_damaged_is_noted_and_the_rest_is_read() {
    let (folder, containers) = containers(&FILES);
    fs::write(folder.path().join("fine"), "fine").unwrap();
    for container in &containers {
        let whole = fs::read(container).unwrap();
        fs::write(container, &whole[..whole.len() / 3]).unwrap();
    }
    let mut walk = Walk::new(folder.path()).unwrap();
    let files: Vec<PathBuf> = walk.by_ref().map(|file| file.path).collect();
    assert_eq!(files, [folder.path().join("fine")]);
    assert_eq!(walk.notes().len(), containers.len());
}

#[test]
fn a_size_that_is_a_lie_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lie.zip");
    write_zip(&path, &[("a", b"small small small small small")], CompressionMethod::Deflated);
    let mut bytes = fs::read(&path).unwrap();
    // The unpacked size stands in the local header and in the list at the end.
    let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    for at in [22, central + 24] {
        bytes[at..at + 4].copy_from_slice(&0xF000_0000_u32.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(&path.join("a")).unwrap_err().kind(), ErrorKind::InvalidData);
}
