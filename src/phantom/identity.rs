//! Who, when and on which scanner: the identifiers of a synthetic series.

use rand_chacha::ChaCha8Rng;

use super::noise::{pick, stream, uniform};
use super::scanner::Weighting;
use crate::connectors::dicom::write::{MrSeries, Study};
use crate::connectors::{Digest, Geometry};

/// Manufacturer, model, software, field strength (T), repetition and echo time (ms), flip angle, and
/// how the vendor's protocols name the series.
type Scanner = (&'static str, &'static str, &'static str, f64, f64, f64, f64, &'static str);

const SCANNERS: [Scanner; 4] = [
    ("SIEMENS", "Avanto", "syngo MR B17", 1.5, 9.53, 4.23, 50.0, "t2_ci3d_tra_1.5mm_v1"),
    ("SIEMENS", "Skyra", "syngo MR E11", 3.0, 1200.0, 204.0, 120.0, "t2_space_tra_iso_v1"),
    ("GE MEDICAL SYSTEMS", "SIGNA Artist", "29\\LX\\MR29.1", 1.5, 5.4, 2.1, 65.0, "Ax T2_FIESTA-C"),
    ("Philips Medical Systems", "Ingenia", "5.7.1", 3.0, 2000.0, 200.0, 90.0, "T2_DRIVE_IAC"),
];

/// A UID under 2.25, of which the same seed, index and purpose give the same.
pub(super) fn uid(seed: u64, index: usize, purpose: &str) -> String {
    let parts = [b"uid".as_slice(), &seed.to_le_bytes(), &(index as u64).to_le_bytes(), purpose.as_bytes()];
    let mut number = [0; 16];
    number.copy_from_slice(&Digest::of_parts(parts).0[..16]);
    format!("2.25.{}", u128::from_be_bytes(number))
}

/// The SOPInstanceUIDs of a series, in the order of its slices.
pub(super) fn instance_uids(seed: u64, index: usize, weighting: Weighting, slices: usize) -> Vec<String> {
    (0..slices).map(|slice| uid(seed, index, &weighting.purpose(&format!("instance {slice}")))).collect()
}

/// A file's name: as in exports that were renamed by content, it tells nothing.
pub(super) fn file_name(sop_instance_uid: &str) -> String {
    format!("{}.dcm", &Digest::of(sop_instance_uid.as_bytes()).to_string()[..16])
}

fn whole(rng: &mut ChaCha8Rng, low: u32, end: u32) -> u32 {
    uniform(rng, f64::from(low), f64::from(end)) as u32
}

fn date(rng: &mut ChaCha8Rng, from_year: u32, end_year: u32) -> String {
    format!("{}{:02}{:02}", whole(rng, from_year, end_year), whole(rng, 1, 13), whole(rng, 1, 29))
}

fn study(rng: &mut ChaCha8Rng, seed: u64, index: usize) -> Study {
    let birth_date = date(rng, 1935, 1995);
    let date = date(rng, 2014, 2024);
    let years = date[..4].parse::<u32>().unwrap_or(0) - birth_date[..4].parse::<u32>().unwrap_or(0);
    Study {
        patient_id: format!("PHANTOM-{seed}-{index:05}"),
        patient_name: format!("Phantom^Nr {index}"),
        sex: pick(rng, ["F", "M"]).to_owned(),
        // A birthday later in the year than the study has not come yet.
        age: format!("{:03}Y", years - u32::from(birth_date[4..] > date[4..])),
        birth_date,
        uid: uid(seed, index, "study"),
        id: format!("{}", whole(rng, 1000, 9999)),
        accession_number: format!("{}", whole(rng, 10_000_000, 99_999_999)),
        time: format!("{:02}{:02}{:02}", whole(rng, 7, 19), whole(rng, 0, 60), whole(rng, 0, 60)),
        date,
        description: "MR IAC".to_owned(),
        frame_of_reference_uid: uid(seed, index, "frame of reference"),
    }
}

/// Describes one of the two series of a patient of a research collection, all from scanners of one hospital.
pub(super) fn collected(
    seed: u64,
    index: usize,
    weighting: Weighting,
    geometry: Geometry,
    window: [f64; 2],
) -> MrSeries {
    let (manufacturer, model, software, field, repetition, echo, flip, t2) = SCANNERS[0];
    let own = series(seed, index, geometry, window);
    let (description, number, repetition_time_ms, echo_time_ms, flip_angle_deg) = match weighting {
        Weighting::T2 => (t2, own.number, repetition, echo, flip),
        Weighting::T1 => ("t1_mpr_tra_gk_v4", own.number + 1, 1900.0, 2.97, 15.0),
    };
    MrSeries {
        uid: uid(seed, index, &weighting.purpose("series")),
        number,
        description: description.to_owned(),
        protocol: description.to_owned(),
        manufacturer: manufacturer.to_owned(),
        model: model.to_owned(),
        software: software.to_owned(),
        field_strength_t: field,
        repetition_time_ms,
        echo_time_ms,
        flip_angle_deg,
        ..own
    }
}

/// The header that all slices of a series share.
pub(super) fn series(seed: u64, index: usize, geometry: Geometry, window: [f64; 2]) -> MrSeries {
    let rng = &mut stream(seed, index, "identity");
    let study = study(rng, seed, index);
    let (manufacturer, model, software, field, repetition, echo, flip, description) = pick(rng, SCANNERS);
    MrSeries {
        uid: uid(seed, index, "series"),
        number: whole(rng, 2, 12) as i32,
        time: format!("{}30", &study.time[..4]),
        description: description.to_owned(),
        protocol: description.to_owned(),
        manufacturer: manufacturer.to_owned(),
        model: model.to_owned(),
        software: software.to_owned(),
        serial_number: format!("{}", whole(rng, 10_000, 99_999)),
        field_strength_t: field,
        repetition_time_ms: repetition,
        echo_time_ms: echo,
        flip_angle_deg: flip,
        geometry,
        rescale: pick(rng, [None, Some([1.0, 0.0])]),
        bits_stored: 12,
        window,
        study,
    }
}
