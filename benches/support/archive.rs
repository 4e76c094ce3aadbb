//! The index of a plausible archive of CT and MR, and files that carry its names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow::connectors::dicom::write::{MrSeries, Pixels, Slice, Study, write_slice};
use tomoflow::connectors::dicom::{FileStat, Instance, Record, read_record};
use tomoflow::connectors::{Digest, Geometry, Real};

/// Slices of a series.
pub const SLICES: usize = 100;

const SIZE: [usize; 3] = [SLICES, 512, 512];
const SPACING_MM: [f64; 3] = [1.5, 0.4, 0.4];

/// So many series of [`SLICES`] slices; of the first `late` ones of MR, the last slice is not there yet.
pub struct Archive {
    pub series: usize,
    pub late: usize,
}

/// A slice of a series.
#[derive(Clone, Copy, Debug)]
pub struct SlicePlace {
    pub series: usize,
    pub slice: usize,
}

/// Four series a study, as a protocol has them.
fn study_of(series: usize) -> usize {
    series / 4
}

/// As long as scanners make them.
fn uid(what: usize, number: usize) -> String {
    let time = 20_190_101_000_000_000 + number as u64 * 86_413;
    format!(
        "1.3.12.2.1107.5.2.43.{:05}.{time}.{what}.{:010}",
        66_000 + number % 7,
        number * 2_654_435 % 9_999_999_967
    )
}

fn is_ct(series: usize) -> bool {
    series % 2 == 1
}

impl Archive {
    /// Every file that is there at first.
    fn places(&self) -> impl Iterator<Item = SlicePlace> {
        let late = self.late;
        let is_late = move |place: &SlicePlace| {
            place.slice == SLICES - 1 && !is_ct(place.series) && place.series / 2 < late
        };
        (0..self.series)
            .flat_map(|series| (0..SLICES).map(move |slice| SlicePlace { series, slice }))
            .filter(move |place| !is_late(place))
    }

    fn path(&self, place: SlicePlace, root: &Path) -> PathBuf {
        let study = study_of(place.series);
        let folder =
            format!("PAT{:07}/2019{:04}_{study:06}/SE{:04}", study / 2, 101 + study % 28, place.series % 4);
        root.join(folder).join(format!("{}.dcm", uid(3, place.series * SLICES + place.slice)))
    }

    /// Small files with the names of all instances; each with what the system says of it, by path.
    pub fn write_files(&self, root: &Path) -> Vec<(SlicePlace, FileStat)> {
        let mut stats: Vec<(SlicePlace, FileStat)> = self
            .places()
            .map(|place| {
                let path = self.path(place, root);
                if place.slice == 0 {
                    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                }
                fs::write(&path, b"").expect("a file");
                let metadata = fs::metadata(&path).expect("a file");
                (place, FileStat::new(path, &metadata))
            })
            .collect();
        stats.sort_by(|a, b| a.1.cmp(&b.1));
        stats
    }

    /// What the file of a slice is said to hold.
    pub fn record(&self, place: SlicePlace) -> Record {
        let mut instance = template().clone();
        let (study, number) = (study_of(place.series), place.series * SLICES + place.slice);
        instance.series_uid = uid(2, place.series);
        instance.study_uid = uid(1, study);
        instance.sop_uid = uid(3, number);
        instance.patient_id = format!("PAT{:07}", study / 2);
        instance.frame_of_reference = uid(4, study);
        let mut tag = |keyword: &'static str, value: String| {
            Arc::make_mut(&mut instance.tags).insert(keyword.into(), value)
        };
        tag("SeriesInstanceUID", uid(2, place.series));
        tag("StudyInstanceUID", uid(1, study));
        tag("PatientID", format!("PAT{:07}", study / 2));
        tag("BodyPartExamined", "HEAD".to_owned());
        tag("SequenceName", "*tse2d1_17".to_owned());
        if is_ct(place.series) {
            tag("Modality", "CT".to_owned());
            tag("SeriesDescription", "Thorax 1.5 Br40 S3 lung".to_owned());
        }
        instance.pixel_digest = Digest::of(&number.to_le_bytes());
        instance.content = Digest::of_parts([b"content".as_slice(), &number.to_le_bytes()]);
        instance.digest = Digest::of_parts([b"instance".as_slice(), &number.to_le_bytes()]);
        for frame in &mut instance.frames {
            frame.position_mm = Some([0.0, 0.0, SPACING_MM[0] * place.slice as f64].map(Real::new));
            frame.order.insert("InstanceNumber".into(), (place.slice + 1).to_string());
        }
        Record::Instance(instance)
    }

    /// Writes the late slice of one of the first series of MR; it is a whole file.
    pub fn write_late(&self, number: usize, root: &Path) -> PathBuf {
        let place = SlicePlace { series: 2 * number, slice: SLICES - 1 };
        let path = self.path(place, root);
        write(&path, place);
        path
    }
}

/// What a scanner's file of such a slice reads as.
fn template() -> &'static Instance {
    static TEMPLATE: std::sync::OnceLock<Instance> = std::sync::OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("slice.dcm");
        write(&path, SlicePlace { series: 0, slice: 0 });
        match read_record(&path).expect("a file") {
            Record::Instance(instance) => instance,
            other => panic!("an instance expected, {other:?} found"),
        }
    })
}

fn write(path: &Path, place: SlicePlace) {
    let study = study_of(place.series);
    let series = MrSeries {
        study: Study {
            patient_id: format!("PAT{:07}", study / 2),
            patient_name: "PHANTOM^NOBODY".to_owned(),
            birth_date: "19610203".to_owned(),
            sex: "O".to_owned(),
            age: "058Y".to_owned(),
            uid: uid(1, study),
            id: format!("{study}"),
            accession_number: format!("A{study:08}"),
            date: "20190101".to_owned(),
            time: "101500".to_owned(),
            description: "MRT Kopf mit KM".to_owned(),
            frame_of_reference_uid: uid(4, study),
        },
        uid: uid(2, place.series),
        number: (place.series % 4) as i32 + 1,
        time: "101730".to_owned(),
        description: "t2_tse_tra_p2_448".to_owned(),
        protocol: "t2_tse_tra_p2_448".to_owned(),
        manufacturer: "SIEMENS".to_owned(),
        model: "Prisma_fit".to_owned(),
        software: "syngo MR E11".to_owned(),
        serial_number: "66017".to_owned(),
        field_strength_t: 3.0,
        repetition_time_ms: 5200.0,
        echo_time_ms: 98.0,
        flip_angle_deg: 150.0,
        geometry: Geometry::axis_aligned(SIZE, SPACING_MM),
        rescale: Some([1.0, 0.0]),
        bits_stored: 12,
        window: [500.0, 1000.0],
    };
    let values: Vec<u16> =
        (0..SIZE[1] * SIZE[2]).map(|pixel| ((pixel + place.series) % 4096) as u16).collect();
    let uid = uid(3, place.series * SLICES + place.slice);
    let slice = Slice {
        index: place.slice,
        instance_number: place.slice as i32 + 1,
        sop_instance_uid: &uid,
        pixels: Pixels::Unsigned(&values),
    };
    write_slice(path, &series, &slice).expect("a file");
}
