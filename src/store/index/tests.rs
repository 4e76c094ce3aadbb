//! What the index keeps, and for how long.

use tomoflow_connectors::dicom::Instance;

use super::*;

fn stat(path: &str) -> FileStat {
    FileStat { path: path.into(), size: 1, mtime_ns: 2, inode: 3, ctime_ns: None }
}

fn image(series: &str, sop: &str) -> Record {
    Record::Instance(Instance { series_uid: series.into(), sop_uid: sop.into(), ..Instance::default() })
}

fn record(record: &Record) -> Digest {
    Held::of(record).record().unwrap()
}

#[test]
fn a_series_follows_its_files() {
    let out = tempfile::tempdir().unwrap();
    let store = Store::open(out.path()).unwrap();
    let (a, b) = (image("1.2", "a"), image("1.2", "b"));
    let read = [(stat("/x/1"), a.clone()), (stat("/x/2"), b.clone()), (stat("/x/3"), image("1.23", "c"))];
    store.reindex(&read, &[]).unwrap();
    let paths = |series| -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            store.members(series, Path::new("/x")).unwrap().into_iter().map(|(path, _)| path).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths("1.2"), [Path::new("/x/1"), Path::new("/x/2")]);
    assert!(store.members("1.2", Path::new("/y")).unwrap().is_empty());
    store.judge(&[("1.2".into(), Digest::of(b"r"), b"fine".to_vec())], &[]).unwrap();
    let verdict = || store.verdicts(&["1.2".to_owned()], Digest::of(b"r")).unwrap().remove(0);
    assert_eq!(verdict().as_deref(), Some(b"fine".as_slice()));
    // The same record under another time: tags that no record keeps may be others, and the series is judged anew.
    store.reindex(&[(FileStat { mtime_ns: 9, ..stat("/x/1") }, a.clone())], &[]).unwrap();
    assert!(verdict().is_none());
    store.judge(&[("1.2".into(), Digest::of(b"r"), b"fine".to_vec())], &[]).unwrap();
    store.reindex(&[], &["/x/2".into()]).unwrap();
    assert_eq!((paths("1.2").len(), verdict()), (1, None));
    assert!(store.records(&[record(&b)]).unwrap().is_empty());
    // The same record twice: it stays until both files are gone.
    store.reindex(&[(stat("/x/4"), a.clone())], &["/x/1".into()]).unwrap();
    assert_eq!(store.places("1.2", &[record(&a)]).unwrap()[0].as_ref().unwrap().path, Path::new("/x/4"));
}

#[test]
fn a_ctime_counts_once_it_is_kept() {
    let out = tempfile::tempdir().unwrap();
    let store = Store::open(out.path()).unwrap();
    let path = Path::new("/x/1");
    // The record is as versions before the time of change wrote it.
    store.reindex(&[(stat("/x/1"), image("1.2", "a"))], &[]).unwrap();
    let known = store.file(path).unwrap().unwrap();
    let now = FileStat { ctime_ns: Some(7), ..stat("/x/1") };
    assert!(known.stat.ctime_ns.is_none() && known.stat.is_still(&now) && Known::of(&known).is(&now));
    store.restat(&[Indexed { stat: now.clone(), held: known.held.clone() }]).unwrap();
    let filled = store.file(path).unwrap().unwrap();
    assert_eq!(filled, Indexed { stat: now.clone(), held: known.held });
    let later = FileStat { ctime_ns: Some(8), ..now.clone() };
    assert!(!filled.stat.is_still(&later) && filled.stat.seems(&later) && !Known::of(&filled).is(&later));
    assert!(store.any_file(Path::new("/x"), |known| known.path == path).unwrap());
    assert!(!store.any_file(Path::new("/x/1/2"), |_| true).unwrap() && store.knows_files().unwrap());
}

#[test]
fn files_that_were_read_in_another_way_are_read_anew() {
    let out = tempfile::tempdir().unwrap();
    let store = Store::open(out.path()).unwrap();
    store.read_as(1).unwrap();
    store.reindex(&[(stat("/x/1"), image("1.2", "a"))], &[]).unwrap();
    store.judge(&[("1.2".into(), Digest::of(b"r"), b"fine".to_vec())], &[]).unwrap();
    store.read_as(1).unwrap();
    assert!(store.file(Path::new("/x/1")).unwrap().is_some());
    store.read_as(2).unwrap();
    assert_eq!(store.file(Path::new("/x/1")).unwrap(), None);
    assert!(store.members("1.2", Path::new("/x")).unwrap().is_empty());
    assert_eq!(store.verdicts(&["1.2".to_owned()], Digest::of(b"r")).unwrap(), [None]);
}
