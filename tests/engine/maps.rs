//! Maps beside masks: how sure a network was and where it looked, on the scan's grid, exported, kept and freed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::engine::{self, ExportOptions};
use tomoflow::operators::registry::Registry;
use tomoflow::operators::sinks::files::FileFormat;

const ALL: &str = "keep = [\"probabilities\", \"entropy\", \"attention\"]";

/// Four series, a network with attention maps, and an inference with this line.
fn attentive(keep: &str) -> Workplace {
    let mut place = Workplace::trained();
    place.text = place.text.rewrite("channels = 2 }", "channels = 2, attention = \"supervised\" }");
    place.text = place.text.rewrite("model = \"net\"", &format!("model = \"net\"\n{keep}"));
    place
}

/// The same pipeline with another line.
fn keep(place: &mut Workplace, line: &str) {
    let (before, after) = place.text.split_once("model = \"net\"\n").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    place.text = format!("{before}model = \"net\"\n{line}\n{after}");
}

/// The exported files, by name.
fn exported(place: &Workplace, folder: &str) -> BTreeMap<String, Vec<u8>> {
    exported_of(place, None, folder)
}

/// Those of one stage.
fn exported_of(place: &Workplace, stage: Option<&str>, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = place.path().join(folder);
    let stage = stage.map(str::to_owned);
    let options = ExportOptions {
        folder: folder.clone(),
        format: FileFormat::Nifti,
        stage,
        scans: false,
        deidentify: false,
    };
    let exported = engine::export(place.plan(&Registry::builtin()), &options).unwrap();
    assert!(exported.left_out.is_empty(), "{:?}", exported.left_out);
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
    };
    exported.files.into_iter().map(read).collect()
}

/// A mask, and the map of this name beside it, on one grid.
fn beside(folder: &Path, case: &str, map: &str) -> (LabelMap, Scan) {
    let mask = nifti::read_labels(&folder.join(format!("{case}.nii.gz"))).unwrap();
    let map = nifti::read_scan(&folder.join(format!("{case}.{map}.nii.gz"))).unwrap();
    assert_eq!(mask.size(), map.size());
    let affines = [mask.geometry(), map.geometry()].map(Geometry::affine_lps);
    assert_eq!(affines[0], affines[1]);
    (mask, map)
}

#[test]
fn maps_lie_beside_their_masks_and_say_what_these_say() {
    let place = attentive(ALL);
    let first = place.run();
    assert_eq!((first.trained, first.rejected, ran(&first, "segment")), (1, 0, 4), "{first}");
    let files = exported(&place, "files");
    assert_eq!(files.len(), 4 * 4, "{:?}", files.keys());
    let (mut labels, mut doubts) = (0, 0);
    for index in 0..4 {
        let (folder, case) = (place.path().join("files"), place.phantom_series(index));
        let (mask, probability) = beside(&folder, &case, "probability.tumour");
        let (_, entropy) = beside(&folder, &case, "entropy");
        let (_, attention) = beside(&folder, &case, "attention");
        for (voxel, &label) in mask.voxels().iter().enumerate() {
            let (p, h) = (f64::from(probability.voxels()[voxel]), f64::from(entropy.voxels()[voxel]));
            // The chain leaves the grid as it is: what is surer than a half is what the mask holds.
            assert!((0.0..=1.0).contains(&p) && (0.0..=1.0).contains(&h));
            assert!(if label == 1 { p >= 0.5 } else { p <= 0.5 }, "{label} at {p}");
            let bits = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
            // Stored to half a step; where the entropy is steep, a half step of p is more of one of it.
            let steps = [p - 0.5 / 254.0, p + 0.5 / 254.0]
                .map(|p| p.clamp(0.0, 1.0))
                .map(|p| bits(p) + bits(1.0 - p));
            let (low, high) = (steps[0].min(steps[1]), steps[0].max(steps[1]).max(bits(p) + bits(1.0 - p)));
            assert!((low - 0.0021..=high + 0.0021).contains(&h), "{h} at {p}");
            labels += usize::from(label == 1);
            doubts += usize::from((0.2..0.8).contains(&p));
        }
        let values = attention.voxels().iter().copied();
        let (least, most) = (values.clone().fold(1f32, f32::min), values.fold(0f32, f32::max));
        assert!(0.0 <= least && least < most && most <= 1.0, "attention from {least} to {most}");
    }
    assert!(labels + doubts > 0, "masks and maps without anything in them show nothing");
    assert_eq!(place.run().actions_run, 0);
    let plan = place.plan(&Registry::builtin());
    let pictures = engine::pictures(plan, 6).unwrap();
    let names = |picture: &engine::Picture| -> Vec<String> {
        assert!(picture.heats.iter().all(|heat| heat.shares.len() == picture.pixels.len()));
        picture.heats.iter().map(|heat| heat.name.clone()).collect()
    };
    assert!(pictures.len() == 4 && pictures.iter().all(|picture| names(picture) == ["entropy", "attention"]));

    // From nothing, and by batches of another size, the same bytes.
    let mut anew = attentive(ALL);
    anew.text = anew.text.rewrite("[operators.segment]", "[operators.segment]\nbatch = 3");
    anew.run();
    assert!(exported(&anew, "files") == files, "another run gives other files");
}

#[test]
fn maps_asked_for_later_redo_nothing_else() {
    let mut place = attentive("keep = []");
    place.run();
    let tables = place.tables();
    assert_eq!(exported(&place, "files").len(), 4);
    keep(&mut place, "keep = [\"entropy\"]");
    // Not made yet: the masks are there all the same.
    assert_eq!(exported(&place, "files").len(), 4);
    let forecast = engine::forecast(place.plan(&Registry::builtin()), &Default::default()).unwrap();
    assert_eq!(forecast.stages["segment"].run, 4);
    assert_eq!(forecast.stages["segment"].reasons["maps to keep"], 4, "{forecast}");
    let second = place.run();
    assert_eq!((second.trained, second.actions_run, ran(&second, "segment")), (0, 4, 4));
    assert!(second.tables_changed.is_empty(), "{:?}", second.tables_changed);
    assert_eq!(place.tables(), tables);
    let names: Vec<String> = exported(&place, "files").into_keys().collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".entropy.nii.gz")).count(), 4);
    assert_eq!((names.len(), place.run().actions_run), (8, 0));
    // More of them: the network runs again, and what was there before nobody needs.
    keep(&mut place, "keep = [\"attention\", \"entropy\"]");
    assert_eq!(place.run().actions_run, 4);
    assert_eq!(exported(&place, "files").len(), 12);
    let plan = place.plan(&Registry::builtin());
    assert!(engine::verify(place.plan(&Registry::builtin()), false).unwrap().sound());
    let garbage = engine::gc(&plan, Duration::ZERO, true).unwrap();
    assert_eq!(garbage.items["artifacts"].len(), 4, "{garbage}");
    // Fewer, or none: nothing runs, and only what is asked for is shown.
    for (line, files) in [("keep = [\"attention\"]", 8), ("keep = true", 4), (ALL, 4 * 3)] {
        keep(&mut place, line);
        if line != ALL {
            assert_eq!(place.run().actions_run, 0, "{line}");
        }
        assert_eq!(exported(&place, "files").len(), files, "{line}");
    }
    assert_eq!(place.run().actions_run, 4);
    assert_eq!((exported(&place, "files").len(), place.tables()), (16, tables));
    assert!(engine::verify(place.plan(&Registry::builtin()), false).unwrap().sound());
}

#[test]
fn stages_that_do_the_same_work_share_it_and_show_what_each_keeps() {
    let mut place = attentive("keep = [\"entropy\"]");
    place.text.push_str(
        "\n[operators.again]\ntype = \"infer\"\ninputs = [\"normal\"]\nmodel = \"net\"\nbatch = 2\n\
         keep = [\"attention\"]\n\n[operators.filled]\ntype = \"fill_holes\"\ninputs = [\"again\"]\nkeep = true\n",
    );
    let summary = place.run();
    // 3 cases prepared, a training, and for 4 cases a mask, its holes and its figures.
    assert_eq!((summary.rejected, summary.actions_run), (0, 3 + 1 + 3 * 4), "{summary}");
    for (stage, ending) in [("segment", "entropy"), ("again", "attention"), ("filled", "attention")] {
        let files = exported_of(&place, Some(stage), stage);
        let maps = files.keys().filter(|name| name.ends_with(&format!(".{ending}.nii.gz")));
        assert_eq!((maps.count(), files.len()), (4, 8), "{stage}: {:?}", files.keys());
    }
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn damaged_maps_are_made_again() {
    let place = attentive("keep = [\"entropy\"]");
    place.run();
    let files = exported(&place, "files");
    let folder = place.out().join("store/artifacts");
    let maps = tomoflow::connectors::dicom::walk(&folder).unwrap().into_iter().filter(|file| {
        let bytes = fs::read(&file.path).unwrap();
        tomoflow::executor::maps::MapsArtifact::decode(&bytes).is_ok_and(|maps| !maps.maps.is_empty())
    });
    let maps: Vec<_> = maps.map(|file| file.path).collect();
    assert_eq!(maps.len(), 4);
    let mut bytes = fs::read(&maps[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&maps[0], bytes).unwrap();
    assert_eq!(engine::verify(place.plan(&Registry::builtin()), true).unwrap().damaged.len(), 1);
    assert_eq!(place.run().actions_run, 1);
    assert!(exported(&place, "files") == files);
}

/// A TorchScript network that holds what is brighter than a half for a tumour, behind a chain.
fn bright(chain: &str, keep: &str) -> Workplace {
    let mut place = Workplace::trained();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/threshold.pt");
    let (before, after) = place.text.split_once("[operators.samples]").unwrap();
    let (_, after) = after.split_once("[operators.segment]").unwrap();
    let model = format!(
        "model = {{ torchscript = {:?}, view = {{ type = \"patch\", size = [4, 16, 16] }}, labels = [\"tumour\"] }}",
        file.to_str().unwrap()
    );
    let after = after.rewrite("model = \"net\"", &format!("{model}\n{keep}"));
    let after = if chain.is_empty() { after } else { after.replacen("\"normal\"", "\"last\"", 1) };
    place.text = format!("{before}{chain}[operators.segment]{after}");
    place
}

#[test]
fn behind_a_resampling_and_a_crop_maps_lie_where_the_scan_does() {
    let chain = "[operators.turned]\ntype = \"reorient\"\ninputs = [\"normal\"]\naxes = \"RAS\"\n\n\
                 [operators.even]\ntype = \"resample\"\ninputs = [\"turned\"]\nspacing_mm = [1.0, 0.5, 0.5]\n\n\
                 [operators.last]\ntype = \"crop\"\ninputs = [\"even\"]\nsize_mm = [8.0, 9.0, 9.0]\n\n";
    let maps = "keep = [\"probabilities\", \"entropy\"]";
    let (plain, place) = (bright("", maps), bright(chain, maps));
    assert_eq!((plain.run().rejected, place.run().rejected), (0, 0));
    exported(&plain, "files");
    exported(&place, "files");
    for index in 0..4 {
        let case = place.phantom_series(index);
        let (_, whole) = beside(&plain.path().join("files"), &case, "probability.tumour");
        let (mask, found) = beside(&place.path().join("files"), &case, "probability.tumour");
        let (_, entropy) = beside(&place.path().join("files"), &case, "entropy");
        let [depth, height, width] = mask.size();
        let (mut agree, mut inside, mut off) = (0usize, 0usize, [0.0; 7]);
        for (voxel, &label) in mask.voxels().iter().enumerate() {
            let p = found.voxels()[voxel];
            // 9 mm of 0.4 mm: about 22 voxels in the middle of 32; outside of the crop there is nothing.
            let [d, h, w] = [voxel / width / height, voxel / width % height, voxel % width];
            let far = |at: usize, length: usize| at.abs_diff(length / 2) > 13;
            if far(h, height) || far(w, width) {
                assert_eq!((p, entropy.voxels()[voxel], label), (0.0, 0.0, 0));
            }
            let near = |at: usize, length: usize| (length / 2 - 8..length / 2 + 8).contains(&at);
            if !(2..depth - 2).contains(&d) || !near(h, height) || !near(w, width) {
                continue;
            }
            (inside, agree) = (inside + 1, agree + usize::from((p > 0.5) == (label == 1)));
            // In its place, and one voxel off along each axis.
            let plane = height * width;
            let places =
                [voxel, voxel - plane, voxel + plane, voxel - width, voxel + width, voxel - 1, voxel + 1];
            for (off, place) in off.iter_mut().zip(places) {
                *off += f64::from((p - whole.voxels()[place]).abs());
            }
        }
        // Twice interpolated it is smoother than what the network sees on the scan's own grid, and the mask is that of the
        // nearest voxel.
        assert!(agree as f64 > 0.9 * inside as f64, "{agree} of {inside}");
        assert!(off[0] < 0.06 * inside as f64, "{} off in {inside}", off[0]);
        assert!(off[1..].iter().all(|off_by_one| off[0] < 0.85 * off_by_one), "{off:?}");
    }
}

#[test]
fn stacks_bags_mirrors_and_ensembles_have_maps_too() {
    let patches = "type = \"patches\"\ninputs = [\"normal\"]\nsize = [4, 16, 16]";
    for view in ["type = \"stack\"\nslices = 3", "type = \"bag\"\nstacks = 3\nslices = 3\ngap = 2"] {
        let mut place = attentive(&format!("{ALL}\nflips = [\"w\"]\nprecision = \"bfloat16\""));
        let view = format!("{view}\ninputs = [\"normal\"]");
        place.text = place.text.rewrite(patches, &view).rewrite("\"2.5d\"", "\"2d\"");
        let summary = place.run();
        assert_eq!(
            (summary.trained, summary.rejected, ran(&summary, "segment")),
            (1, 0, 4),
            "{view}: {summary}"
        );
        assert_eq!(exported(&place, "files").len(), 16);
    }
    let mut place = attentive(&format!("out_of_fold = true\n{ALL}"));
    let (before, after) = place.text.split_once("[operators.net]").unwrap();
    let (net, after) = after.split_once("[operators.segment]").unwrap();
    let fold = |fold: usize| {
        let split = format!("split = {{ folds = 2, fold = {fold}, seed = 3 }}");
        let net = net.rewrite("split = { train = 2, validation = 1, test = 1, seed = 3 }", &split);
        format!("[operators.net_{fold}]{net}")
    };
    let after = after.rewrite("model = \"net\"", "model = [\"net_0\", \"net_1\"]");
    place.text = format!("{before}{}{}[operators.segment]{after}", fold(0), fold(1));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (2, 0, 4), "{summary}");
    assert_eq!(exported(&place, "files").len(), 16);
}

#[test]
fn attention_is_kept_only_of_what_attends() {
    let problems = |place: &Workplace| {
        let plan = tomoflow::pipeline::load(&place.pipeline(), &[], &Registry::builtin());
        plan.err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    let without = {
        let mut place = attentive(ALL);
        place.text = place.text.rewrite("attention = \"supervised\"", "attention = \"off\"");
        place
    };
    let found = problems(&without);
    assert!(found.contains("`net` has no attention map") && found.contains("keep"), "{found}");
    let found = problems(&bright("", ALL));
    assert!(found.contains("TorchScript") && found.contains("attention"), "{found}");

    // What a file's card says is seen when it is read: no mask is lost for it, and nothing of it is remembered.
    let trained = Workplace::trained();
    trained.run();
    let model = trained.metrics().remove(0).model;
    let file = trained.path().join("net.safetensors");
    fs::copy(trained.out().join("store/artifacts").join(&model[..2]).join(&model), &file).unwrap();
    let (before, after) = trained.text.split_once("[operators.samples]").unwrap();
    let (_, after) = after.split_once("[operators.segment]").unwrap();
    let named = |keep: &str| {
        let model = format!("model = {{ safetensors = {:?} }}\nretries = 0\n{keep}", file.to_str().unwrap());
        format!("{before}[operators.segment]{}", after.rewrite("model = \"net\"", &model))
    };
    let mut place = Workplace::trained();
    place.text = named(ALL);
    let summary = place.run();
    assert_eq!(summary.rejected, 4, "{summary}");
    let rejects = place.tables()["rejects"].iter().cloned().collect::<String>();
    assert!(rejects.contains("NO_ATTENTION"), "{rejects}");
    place.text = named("keep = [\"entropy\"]");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 4), "{summary}");
    assert_eq!(exported(&place, "files").len(), 8);
}
