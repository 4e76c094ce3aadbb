//! Channels that are series of one study.

use std::collections::BTreeSet;
use std::fs;

use dicom_core::{Tag, VR};

use super::{HEAD, SEGMENTED, codes, rows};
use crate::support::dicom::{SOP_UID, copied, put, text};
use crate::support::{Workplace, assert_same, ran};

pub(super) const STUDY: &str = r#"
[sources.t1]
type = "dicom"
path = "archive"
where = { SeriesDescription = "!second*" }

[sources.t2]
type = "dicom"
path = "archive"
where = { SeriesDescription = "second*" }

[sources.outlines]
type = "rtstruct"
path = "archive"
structures = { tumour = ["TV"] }

[operators.first]
type = "assemble"
inputs = ["t1"]

[operators.second]
type = "assemble"
inputs = ["t2"]

[operators.labelled]
type = "label"
inputs = ["first", "outlines"]

[operators.case]
type = "channels"
inputs = ["labelled", "second"]
names = ["t1", "t2"]

[operators.normal]
type = "zscore"
inputs = ["case"]
"#;

/// Copies a series into the same study.
fn beside(place: &Workplace, index: usize, number: usize, frame: Option<&str>) {
    let (slices, outlines) = {
        let mut files = place.files_of(index);
        let outlines = files.pop().unwrap();
        (files, outlines)
    };
    assert!(outlines.exists());
    for (at, from) in slices.iter().enumerate() {
        copied(from, &place.archive().join(format!("t2-{index}-{number}-{at}")), |object| {
            let sop = format!("{}.{number}", text(object, SOP_UID));
            put(object, SOP_UID, VR::UI, &sop);
            let series = format!("{}.{number}", text(object, Tag(0x0020, 0x000E)));
            put(object, Tag(0x0020, 0x000E), VR::UI, &series);
            put(object, Tag(0x0008, 0x103E), VR::LO, &format!("second {number}"));
            if let Some(frame) = frame {
                put(object, Tag(0x0020, 0x0052), VR::UI, frame);
            }
        });
    }
}

#[test]
fn series_of_a_study_are_channels() {
    let mut place = Workplace::new(3);
    place.text = [HEAD, STUDY, SEGMENTED].concat();
    (0..3).for_each(|index| beside(&place, index, 7, None));
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, ran(&summary, "bright")), (3, 0, 3), "{summary}");
    assert_eq!(rows(&place, "metrics").len(), 3);
    assert_same(&place.tables(), &place.anew(), "series of a study");
    // A second candidate, another frame of reference, and none.
    beside(&place, 0, 8, None);
    beside(&place, 1, 7, Some("1.2.3.4"));
    for file in fs::read_dir(place.archive()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("t2-2-") {
            fs::remove_file(file).unwrap();
        }
    }
    let summary = place.run();
    assert_eq!((summary.accepted, summary.actions_run), (0, 0), "{summary}");
    let expected: BTreeSet<(String, String)> = ["SEVERAL_CANDIDATES", "FRAMES_DIFFER", "CHANNEL_MISSING"]
        .into_iter()
        .enumerate()
        .map(|(index, code)| (place.phantom_series(index), code.to_owned()))
        .collect();
    assert_eq!(codes(&place), expected);
    assert_same(&place.tables(), &place.anew(), "what makes no case");
    let row = rows(&place, "rejects").into_iter().find(|row| row["code"] == "SEVERAL_CANDIDATES").unwrap();
    assert!(row["message"].as_str().unwrap().contains("\"second 7\", \"second 8\""), "{row}");
}
