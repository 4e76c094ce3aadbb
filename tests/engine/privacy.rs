//! Who is scanned stays in the store, which is its owner's alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, open_file};
use tomoflow::connectors::table::{Rows, Table, TableError, read_rows};
use tomoflow::connectors::{LabelMap, dicom_seg};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, lines};

/// All that lies below a folder, with its rights.
fn rights(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut all = vec![(folder.to_owned(), mode(folder))];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(rights(&path));
        } else {
            all.push((path.clone(), mode(&path)));
        }
    }
    all
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn assert_tight(store: &Path, when: &str) {
    let all = rights(store);
    assert!(all.len() > 8, "{all:?}");
    for (path, mode) in all {
        let right = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, right, "{when}: {} {mode:o}", path.display());
    }
}

#[test]
fn the_store_is_its_owners_alone_whatever_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let place = Workplace::new(1);
        let shell = format!("umask {umask}; exec \"$0\" run \"$1\"");
        let program = env!("CARGO_BIN_EXE_tomoflow");
        let ended = Command::new("sh").args(["-c", &shell, program]).arg(place.pipeline()).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let store = place.out().join("store");
        assert_tight(&store, umask);
        // As an earlier version, or somebody, left it.
        for (path, _) in rights(&store) {
            let open = if path.is_dir() { 0o777 } else { 0o666 };
            fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
        }
        place.run();
        assert_tight(&store, "tightened");
        // What may be handed on is not touched.
        let table = place.out().join("tables/cases");
        assert_eq!(mode(&table) & 0o700, 0o700);
    }
}

#[test]
fn a_training_keeps_its_checkpoints_to_its_owner() {
    let place = Workplace::trained();
    let mut command = crate::support::process::command("run", &place.pipeline(), &[]);
    command.env("TOMOFLOW_POINT", "outcome.recorded:3:abort").stdout(Stdio::null()).stderr(Stdio::null());
    command.output().unwrap();
    place.run();
    assert_tight(&place.out().join("store"), "trained");
}

#[test]
fn nobody_finds_a_copy_of_the_database() {
    let place = Workplace::new(2);
    place.run();
    let (store, elsewhere) = (place.out().join("store"), tempfile::tempdir().unwrap());
    let names = |folder: &Path| -> Vec<PathBuf> {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        // `report` leaves the digest of the page that it wrote.
        let mut names: Vec<_> = paths.filter(|path| !path.ends_with("report.blake3")).collect();
        names.sort();
        names
    };
    let before = names(&store);
    for (command, arguments) in
        [("plan", &[][..]), ("explain", &["1.2"]), ("verify", &[]), ("gc", &[]), ("report", &[])]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        child.arg(command).arg(place.pipeline()).args(arguments).env("TMPDIR", elsewhere.path());
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut looks = 0;
        loop {
            let ended = child.try_wait().unwrap().is_some();
            assert!(names(elsewhere.path()).is_empty(), "{command}: {:?}", names(elsewhere.path()));
            let now = names(&store);
            // A file system without nameless files has it under a name for a moment, its owner's alone.
            for path in now.iter().filter(|path| !before.contains(path)) {
                assert!(!path.exists() || mode(path) == 0o600, "{command}: {}", path.display());
            }
            looks += 1;
            if ended {
                break;
            }
        }
        assert!(looks > 1);
        assert_eq!(names(&store), before, "{command}");
    }
    // A kill leaves none either.
    let mut child = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    let child = child.arg("plan").arg(place.pipeline()).env("TMPDIR", elsewhere.path());
    for wait in [2, 5, 10, 20, 40] {
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(
            (names(&store), names(elsewhere.path())),
            (before.clone(), Vec::new()),
            "killed after {wait} ms"
        );
    }
}

/// Rewrites DICOM files.
fn edit(paths: &[PathBuf], change: impl Fn(&mut DefaultDicomObject)) {
    for path in paths {
        let mut object = open_file(path).unwrap();
        change(&mut object);
        object.write_to_file(path).unwrap();
    }
}

/// Texts that name nobody but who must not be named.
const SECRETS: [&str; 6] = ["ZZDOE", "MRN90210", "ZZACC1", "ZZFOLDER", "ZZCOMMENT", "ZZSURGEON"];
const TYPED: &str = "ZZTYPED chest";

/// Patients whose names stand in tags, in folders and in what people typed; the second has a gap.
fn named() -> Workplace {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    for index in 0..2 {
        let files = place.files_of(index);
        edit(&files, |object| {
            let mut put = |tag, vr, value: &str| _ = object.put(DataElement::new(tag, vr, value));
            put(tags::PATIENT_NAME, VR::PN, "ZZDOE^JANE");
            put(tags::PATIENT_ID, VR::LO, "MRN90210");
            put(tags::ACCESSION_NUMBER, VR::SH, "ZZACC1");
            put(tags::PATIENT_COMMENTS, VR::LT, "ZZCOMMENT");
            put(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "ZZSURGEON");
            put(tags::SERIES_DESCRIPTION, VR::LO, TYPED);
            put(tags::STUDY_DESCRIPTION, VR::LO, TYPED);
        });
        let folder = place.archive().join(format!("ZZFOLDER{index}"));
        fs::create_dir(&folder).unwrap();
        for (number, path) in files.iter().enumerate() {
            if index == 0 || number != 3 {
                fs::rename(path, folder.join(path.file_name().unwrap())).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }
    place
}

/// Every row of every table, as text.
fn rows(place: &Workplace) -> String {
    let tables = Table::ALL.iter().map(|table| {
        let rows = match read_rows(&place.out().join("tables").join(table.name()), *table) {
            // That of boxes is there where a stage gives these.
            Err(TableError::Absent { .. }) if *table == Table::Detections => Rows::empty(*table),
            rows => rows.unwrap(),
        };
        lines(&rows).into_iter().collect::<Vec<_>>().join("\n")
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// Everything that lies below a folder, as one text; what is packed is looked at elsewhere.
fn bytes(folder: &Path) -> String {
    let files = tomoflow::connectors::dicom::walk(folder).unwrap();
    files
        .iter()
        .map(|file| {
            format!(
                "{} {}\n",
                file.path.file_name().unwrap().display(),
                String::from_utf8_lossy(&fs::read(&file.path).unwrap())
            )
        })
        .collect()
}

#[test]
fn names_stand_nowhere_but_in_the_store() {
    let mut place = named();
    let ended = place.tomoflow("run", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let report = place.tomoflow("report", &[]);
    assert_eq!(report.code, Some(0), "{}", report.err);
    let export = place.tomoflow("export", &["--to", place.path().join("masks").to_str().unwrap(), "--scans"]);
    assert_eq!(export.code, Some(0), "{}", export.err);
    let everything = |place: &Workplace| {
        let out = ["tables", "report.html"].map(|name| place.out().join(name));
        let files =
            bytes(&out[0]) + &fs::read_to_string(&out[1]).unwrap() + &bytes(&place.path().join("masks"));
        [rows(place), files]
    };
    let printed = [&ended.out, &ended.err, &report.out, &report.err, &export.out, &export.err];
    let printed: String = printed.into_iter().map(|text| format!("{text}\n")).collect();
    let uids = [place.phantom_series(0), place.phantom_series(1)];
    for text in everything(&place).iter().chain([&printed]) {
        for secret in SECRETS.iter().copied().chain(uids.iter().map(String::as_str)) {
            let at = text.find(secret);
            assert!(
                at.is_none(),
                "{secret}: …{:?}…",
                text.get(at.unwrap().saturating_sub(80)..at.unwrap() + 60)
            );
        }
    }
    // What people typed stands in tables unless it is asked not to; the store has it in any case.
    assert!(rows(&place).contains(TYPED));
    place.text = place.text.rewrite("name = \"test\"", "name = \"test\"\nfree_text = \"drop\"");
    assert_eq!(place.run().actions_run, 0);
    assert_eq!(place.tomoflow("report", &[]).code, Some(0));
    // Earlier versions of tables keep it until they are freed.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(place.tomoflow("gc", &["--delete", "--older-than", "0s"]).code, Some(0));
    let text = everything(&place).concat();
    assert!(
        !text.contains("ZZTYPED"),
        "{:?}",
        text.find("ZZTYPED").map(|at| &text[at.saturating_sub(80)..at + 40])
    );
    let told = rows(&place);
    assert!(told.contains("MISSING_SLICE") || told.contains("left out (`free_text"), "{told}");
    let clear = place.tomoflow("rejects", &[]);
    assert!(clear.out.contains("ZZFOLDER1") && !clear.out.contains("left out"), "{}", clear.out);
    place.text = place.text.rewrite("free_text = \"drop\"", "free_text = \"keep\"");
    place.run();
    assert_eq!(place.tables(), place.anew_as_pseudonyms());
}

impl Workplace {
    /// Tables of the same store made anew: pseudonyms are those of its key.
    fn anew_as_pseudonyms(&self) -> crate::support::Contents {
        fs::remove_dir_all(self.out().join("tables")).unwrap();
        self.run();
        self.tables()
    }
}

/// All texts of an object, sequences and all.
fn texts(object: &InMemDicomObject, found: &mut Vec<(Tag, String)>) {
    for element in object {
        match element.items() {
            Some(items) => items.iter().for_each(|item| texts(item, found)),
            None if element.vr() != VR::OB => {
                found.push((element.header().tag, element.to_str().unwrap_or_default().into_owned()));
            }
            None => {}
        }
    }
}

#[test]
fn dicom_without_identity_is_read_back_and_names_nobody() {
    let place = named();
    place.run();
    // Everything that the scan's own files say.
    let mut originals = Vec::new();
    for file in tomoflow::connectors::dicom::walk(&place.archive().join("ZZFOLDER0")).unwrap() {
        texts(&open_file(&file.path).unwrap(), &mut originals);
    }
    let telling: Vec<String> = originals
        .into_iter()
        .filter(|(tag, text)| {
            let uid = text.starts_with("2.25.") || text.starts_with("1.3.6");
            let of_person = tag.group() == 0x0010
                || [tags::STUDY_ID, tags::ACCESSION_NUMBER, tags::STUDY_TIME].contains(tag);
            text.len() > 3 && (uid || of_person || text.contains("ZZ"))
        })
        .map(|(_, text)| text)
        .collect();
    assert!(telling.len() > 10, "{telling:?}");
    let refused = place.tomoflow("export", &["--to", "named", "--format", "dicom-seg"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("--deidentify"), "{}", refused.err);
    let mut studies = Vec::new();
    for format in ["dicom-seg", "dicom-labelmap", "rtstruct"] {
        let to = place.path().join(format);
        let ended =
            place.tomoflow("export", &["--to", to.to_str().unwrap(), "--format", format, "--deidentify"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.err.contains("nobody has looked at the pixels"), "{}", ended.err);
        let mut written = tomoflow::connectors::dicom::walk(&to).unwrap();
        written.retain(|file| file.path.extension().is_some_and(|ending| ending == "dcm"));
        assert_eq!(written.len(), 1, "{written:?}");
        let path = &written[0].path;
        let object = open_file(path).unwrap();
        let text =
            |tag: Tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
        assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
        assert!(object.element(tags::BURNED_IN_ANNOTATION).is_err(), "nobody knows what pixels hold");
        let codes = object.element(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).unwrap();
        let code = &codes.items().unwrap()[0];
        assert_eq!(code.element(tags::CODE_VALUE).unwrap().to_str().unwrap(), "113100");
        assert_eq!(text(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED), "REMOVED");
        assert_eq!(
            object.meta().media_storage_sop_instance_uid.trim_end_matches('\0'),
            text(tags::SOP_INSTANCE_UID)
        );
        assert_eq!(text(tags::PATIENT_ID), text(tags::PATIENT_NAME));
        assert!(text(tags::PATIENT_ID).len() == 16 && text(tags::STUDY_DATE).is_empty());
        let raw = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let mut values = Vec::new();
        texts(&object, &mut values);
        for secret in telling.iter().map(String::as_str).chain(SECRETS) {
            // A number of a few digits is a part of many a random UID, and betrays somebody where it stands alone.
            let short = secret.len() < 8 && secret.bytes().all(|byte| byte.is_ascii_digit());
            let there = if short {
                values.iter().any(|(_, value)| value.trim_end_matches(['\0', ' ']) == secret)
            } else {
                raw.contains(secret)
            };
            assert!(!there, "{format}: {secret}");
        }
        studies.push((text(tags::STUDY_INSTANCE_UID), text(tags::PATIENT_ID)));
    }
    studies.dedup();
    assert_eq!(studies.len(), 1, "UIDs and pseudonyms are the same in all objects: {studies:?}");
    // The mask is what it was.
    let plain = place.path().join("plain");
    assert_eq!(place.tomoflow("export", &["--to", plain.to_str().unwrap()]).code, Some(0));
    let mut files = fs::read_dir(&plain).unwrap().map(|entry| entry.unwrap().path());
    let nifti = files.find(|path| path.extension().is_some_and(|ending| ending == "gz")).unwrap();
    let mask: LabelMap = tomoflow::connectors::nifti::read_labels(&nifti).unwrap();
    let mut seg = tomoflow::connectors::dicom::walk(&place.path().join("dicom-seg")).unwrap();
    seg.retain(|file| file.path.extension().is_some_and(|ending| ending == "dcm"));
    let drawn = dicom_seg::read(&seg[0].path).unwrap().draw(|_| Some(1), mask.geometry()).unwrap();
    assert_eq!(drawn.voxels(), mask.voxels());
    pydicom_reads(&place);
}

/// pydicom reads them, with the attributes that their definitions ask for.
fn pydicom_reads(place: &Workplace) {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("TOMOFLOW_PYTHON").map_or_else(own, PathBuf::from);
    if !Command::new(&python)
        .args(["-c", "import pydicom"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no Python with pydicom (set TOMOFLOW_PYTHON)");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/without_identity.py");
    let folders = ["dicom-seg", "dicom-labelmap", "rtstruct"].map(|name| place.path().join(name));
    let output = Command::new(&python).arg(&script).args(folders).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
