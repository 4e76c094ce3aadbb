//! The published system on patients as the TCIA collection Vestibular-Schwannoma-SEG hands them out: two series each, a
//! structure set for either, and a tumour that is called now this, now that.

use std::collections::BTreeSet;
use std::path::Path;

use tomoflow::connectors::table::{CaseRow, MetricRow, Rows, Table, read_rows};
use tomoflow::connectors::{LabelMap, Scan, rtstruct};
use tomoflow::engine::Options;
use tomoflow::engine::run;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::collection::{Patient, write_collection};
use tomoflow::phantom::vs::{VsPhantom, case};
use tomoflow::pipeline;

const PATIENTS: VsPhantom =
    VsPhantom { series: 6, first: 0, seed: 3, size: [12, 48, 56], ..VsPhantom::DEFAULT };

fn collection() -> (tempfile::TempDir, Vec<Patient>) {
    let folder = tempfile::tempdir().unwrap();
    let written = write_collection(&PATIENTS, &folder.path().join("VS-SEG")).unwrap();
    (folder, written)
}

fn parts(path: &Path) -> Vec<String> {
    path.iter().rev().take(4).map(|part| part.to_str().unwrap().to_owned()).collect()
}

fn mean_inside(scan: &Scan, truth: &LabelMap, label: u16) -> f64 {
    let inside = scan.voxels().iter().zip(truth.voxels()).filter(|(_, found)| **found == label);
    let values: Vec<f64> = inside.map(|(value, _)| f64::from(*value)).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn folders_names_and_references_are_the_collections() {
    let (folder, written) = collection();
    let mut names = BTreeSet::new();
    for patient in &written {
        for (weighting, series) in [("t1_", &patient.t1), ("t2_", &patient.t2)] {
            let [file, series_folder, study, id] = &parts(&series.slices[0])[..] else {
                panic!("four parts")
            };
            assert!(file.starts_with("1-0") && series_folder.contains(weighting), "{file} {series_folder}");
            assert!(study.contains("-NA-MR IAC-") && id.starts_with("PHANTOM-3-"), "{study} {id}");
            assert_eq!(parts(&series.outlines)[2..], [study.clone(), id.clone()]);
            let set = rtstruct::read_structures(&series.outlines).unwrap();
            names.insert(set.structures[0].name.clone());
        }
        assert_ne!(patient.t1.series_uid, patient.t2.series_uid);
        assert_eq!(patient.t1.slices.len(), patient.t2.slices.len());
    }
    assert!(names.len() > 2, "{names:?}");
    drop(folder);
}

#[test]
fn contrast_agent_shows_in_t1_and_fluid_in_t2() {
    let folder = tempfile::tempdir().unwrap();
    let patients = VsPhantom { series: 1, ..PATIENTS };
    let written = write_collection(&patients, folder.path()).unwrap();
    let (t2, truth) = case(&patients, 0);
    let files: Vec<_> = written[0].t1.slices.clone();
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!(bytes > 2 * t2.voxels().len() as u64);
    let object = dicom_object::open_file(&files[truth.size()[0] / 2]).unwrap();
    let stored = object.element_by_name("PixelData").unwrap().to_multi_int::<u16>().unwrap();
    let slice = truth.slice(truth.size()[0] / 2);
    let mean = |label: u16| {
        let inside = stored.iter().zip(slice).filter(|(_, found)| **found == label);
        let values: Vec<f64> = inside.map(|(value, _)| f64::from(*value)).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let all = stored.iter().map(|&value| f64::from(value)).sum::<f64>() / stored.len() as f64;
    assert!(mean(1) > 1.4 * all, "{} {all}", mean(1));
    assert!(mean_inside(&t2, &truth, 2) > mean_inside(&t2, &truth, 1), "fluid is bright in T2");
}

#[test]
fn the_published_pipeline_runs_from_folders_to_figures() {
    let (folder, _) = collection();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/vestibular-schwannoma.toml");
    let archive = folder.path().join("VS-SEG");
    let out = folder.path().join("out");
    let mut set = vec![
        format!("sources.scans.path={:?}", archive.display().to_string()),
        format!("sources.outlines.path={:?}", archive.display().to_string()),
        format!("pipeline.out={:?}", out.display().to_string()),
    ];
    // Small enough for a test; the rest is as published.
    set.extend(
        [
            "pipeline.device=\"cpu\"",
            "pipeline.memory=\"1 GiB\"",
            "operators.samples.size_mm=[12, 12.8, 12.8]",
            "operators.net.network.levels=3",
            "operators.net.network.channels=2",
            "operators.net.epochs=2",
        ]
        .map(str::to_owned),
    );
    let plan =
        pipeline::load(&path, &set, &Registry::builtin()).unwrap_or_else(|problems| panic!("{problems}"));
    let summary = run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap();
    assert_eq!((summary.cases, summary.rejected, summary.trained), (6, 0, 1), "{summary}");
    let Rows::Cases(cases) = read_rows(&out.join("tables/cases"), Table::Cases).unwrap() else {
        panic!("cases")
    };
    assert!(cases.iter().all(|case: &CaseRow| case.labelled && case.slices > 10), "{cases:?}");
    let metrics = read_rows(&out.join("tables/metrics"), Table::Metrics).unwrap();
    let Rows::Metrics(metrics) = metrics else { panic!("metrics") };
    let of = |split: &str| {
        metrics.iter().filter(|row: &&MetricRow| row.split == split && row.metric == "dice").count()
    };
    // 178, 20 and 47 of 245 patients, in proportion.
    assert_eq!([of("train"), of("validation"), of("test")], [4, 1, 1]);
}
