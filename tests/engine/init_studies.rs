//! `tomoflow init` on DICOM studies whose series are the channels of one case.

use std::path::Path;

use dicom_core::{Tag, VR};

use super::init::{Place, has};
use crate::support::dicom::{SOP_UID, copied, put, text};
use tomoflow::phantom::vs::{self, VsPhantom, Written};

const SIZE: [usize; 3] = [6, 20, 20];
const MODALITY: Tag = Tag(0x0008, 0x0060);
const DESCRIPTION: Tag = Tag(0x0008, 0x103E);
const SERIES_UID: Tag = Tag(0x0020, 0x000E);
const FRAME_UID: Tag = Tag(0x0020, 0x0052);

/// Studies with one series each, whose description is `first`, and outlines on it.
fn studies(place: &Place, count: usize, first: &str) -> Vec<Written> {
    let settings = VsPhantom { series: count, first: 0, seed: 17, size: SIZE, ..VsPhantom::DEFAULT };
    let written = vs::write_archive(&settings, &place.path("archive")).unwrap();
    for file in written.iter().flat_map(|series| &series.slices) {
        copied(file, file, |object| put(object, DESCRIPTION, VR::LO, first));
    }
    written
}

/// Copies a series into its study, as another one.
fn beside(
    folder: &Path,
    series: &Written,
    number: usize,
    [modality, description]: [&str; 2],
    frame: Option<&str>,
) {
    for (at, from) in series.slices.iter().enumerate() {
        copied(from, &folder.join(format!("beside-{}-{number}-{at}", series.index)), |object| {
            for tag in [SOP_UID, SERIES_UID] {
                let uid = format!("{}.{number}", text(object, tag));
                put(object, tag, VR::UI, &uid);
            }
            put(object, MODALITY, VR::CS, modality);
            put(object, DESCRIPTION, VR::LO, description);
            if let Some(frame) = frame {
                put(object, FRAME_UID, VR::UI, frame);
            }
        });
    }
}

#[test]
fn series_that_recur_in_studies_are_channels() {
    let place = Place::new();
    let series = studies(&place, 4, "Ax T1 [post]");
    let folder = place.path("archive");
    for (index, series) in series.iter().enumerate() {
        // One scanner writes in capitals; a pattern does not mind.
        let flair = if index == 0 { "AX FLAIR" } else { "Ax Flair" };
        beside(&folder, series, 1, ["MR", flair], None);
        beside(&folder, series, 2, ["MR", "3-plane localizer"], None);
        if index != 2 {
            beside(&folder, series, 3, ["MR", "Ax T2"], None);
        }
    }
    beside(&folder, &series[1], 4, ["MR", "Sag T1"], None);
    let (written, said) = place.init();
    has(
        &written,
        &[
            "[sources.ax_t1_post]",
            "where = { Modality = \"MR\", SeriesDescription = \"Ax T1 ?post?\" }",
            "where = { Modality = \"MR\", SeriesDescription = \"AX FLAIR\" }",
            "where = { Modality = \"MR\", SeriesDescription = \"Ax T2\" }",
            "inputs = [\"ax_t1_post_volume\", \"ax_flair_volume\", \"ax_t2_volume\"]",
            "names = [\"ax_t1_post\", \"ax_flair\", \"ax_t2\"]",
            "on_missing = \"zero\"",
            "inputs = [\"scans\", \"outlines\"]",
        ],
    );
    let comments = written.replace("\n# ", " ");
    has(&comments, &["Of 4 studies with ax_t1_post, 4 have ax_flair, 3 have ax_t2."]);
    has(
        &said,
        &[
            "4 MR scans of the channels ax_t1_post, ax_flair, ax_t2, 4 of them with labels",
            "1 studies lack `ax_t2` (those of archive/",
            "series of other kinds are left out: `3-plane localizer` (in 4 studies), `sag t1` (in 1 studies)",
        ],
    );
    place.learns(4, &["TV"]);
}

#[test]
fn modalities_of_one_space_are_channels_and_others_are_not() {
    let place = Place::new();
    let series = studies(&place, 3, "head");
    let folder = place.path("archive");
    for series in &series {
        beside(&folder, series, 1, ["PT", &format!("PET {}", series.index)], None);
        beside(&folder, series, 2, ["CT", "planning"], Some("1.2.3.4"));
    }
    let (written, said) = place.init();
    has(&written, &["[sources.pet]", "where = { Modality = \"PT\" }", "names = [\"mr\", \"pet\"]"]);
    assert!(!written.contains("on_missing") && !written.contains("Modality = \"CT\""), "{written}");
    has(
        &said,
        &["series of CT are in another frame of reference than MR in 3 of 3 studies", "CT (in 3 studies)"],
    );
    place.learns(3, &["TV"]);
}

#[test]
fn series_that_are_all_drawn_on_stay_scans_of_their_own() {
    let place = Place::new();
    let series = studies(&place, 3, "t1");
    let folder = place.path("archive");
    for series in &series {
        beside(&folder, series, 1, ["MR", "t2"], None);
        copied(&series.outlines, &folder.join(format!("outlines-{}", series.index)), |object| {
            let uid = format!("{}.1", text(object, SOP_UID));
            put(object, SOP_UID, VR::UI, &uid);
            drawn_on(object, &format!("{}.1", series.series_uid));
        });
    }
    let (written, _) = place.init();
    assert!(written.contains("[sources.scans]") && !written.contains("type = \"channels\""), "{written}");
}

/// Lets outlines say that they were drawn on another series.
fn drawn_on(object: &mut dicom_object::InMemDicomObject, uid: &str) {
    use crate::support::dicom::{FRAMES, each};
    each(object, FRAMES, &mut |frame| {
        each(frame, Tag(0x3006, 0x0012), &mut |study| {
            each(study, Tag(0x3006, 0x0014), &mut |series| put(series, SERIES_UID, VR::UI, uid));
        });
    });
}
