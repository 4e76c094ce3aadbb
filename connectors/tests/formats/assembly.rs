//! The hazards of a series, each on instances made in memory.

mod acquisitions;
mod gaps;

use proptest::prelude::*;
use tomoflow_connectors::dicom::{
    Assembled, Frame, Instance, OnGap, OnUneven, PixelFormat, Rules, StackPart, assemble, assemble_with,
    gather, stray_series,
};
use tomoflow_connectors::{Digest, Geometry, Real, Reject};

/// An axial slice at a height, with what may set it apart.
fn slice(number: u32, z: f64) -> Instance {
    at(number, [0.0, 0.0, z])
}

fn at(number: u32, position: [f64; 3]) -> Instance {
    let frame = Frame {
        position_mm: Some(position.map(Real::new)),
        orientation: Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0].map(Real::new)),
        spacing_mm: Some([0.5, 0.5].map(Real::new)),
        thickness_mm: Some(Real::new(3.0)),
        rescale: [1.0, 0.0].map(Real::new),
        ..Frame::default()
    };
    Instance {
        series_uid: "1.2".into(),
        sop_uid: format!("1.2.{number}"),
        pixels: PixelFormat { rows: 8, columns: 8, frame_size: [8, 8], ..PixelFormat::default() },
        frames: vec![frame],
        pixel_digest: Digest::of(&number.to_le_bytes()),
        digest: Digest::of(&number.to_le_bytes()),
        ..Instance::default()
    }
}

fn with(mut instance: Instance, keyword: &str, value: &str) -> Instance {
    for frame in &mut instance.frames {
        frame.order.insert(keyword.to_owned().into(), value.to_owned());
    }
    instance
}

/// The instance with a tag that a filter asks for.
fn tagged(mut instance: Instance, keyword: &'static str, value: &str) -> Instance {
    std::sync::Arc::make_mut(&mut instance.tags).insert(keyword.into(), value.to_owned());
    instance
}

fn stack(heights: &[f64]) -> Vec<Instance> {
    (0u32..).zip(heights).map(|(number, &z)| slice(number, z)).collect()
}

fn parts(instances: &[Instance]) -> Vec<StackPart> {
    assemble(&instances.iter().collect::<Vec<_>>())
}

fn parts_with(instances: &[Instance], rules: Rules) -> Vec<StackPart> {
    assemble_with(&instances.iter().collect::<Vec<_>>(), rules)
}

/// The codes of refusals, and sizes of stacks, in order.
fn outcomes(instances: &[Instance]) -> Vec<String> {
    let outcome = |part: StackPart| match part.verdict {
        Ok(assembled) => format!("{:?}", assembled.geometry.size),
        Err(reject) => reject.code,
    };
    parts(instances).into_iter().map(outcome).collect()
}

fn accepted(instances: &[Instance]) -> Assembled {
    parts(instances).remove(0).verdict.unwrap()
}

#[test]
fn tilt_is_kept_as_shear() {
    let tilted: Vec<_> = (0..3).map(|k| at(k, [0.0, 0.3 * f64::from(k), f64::from(k)])).collect();
    let assembled = accepted(&tilted);
    assert!(assembled.notes.contains(&"GANTRY_TILT".to_owned()));
    assert_eq!(assembled.geometry.steps_mm[0], [0.0, 0.3, 1.0]);
}

#[test]
fn a_lone_slice_takes_its_thickness_and_says_so() {
    let assembled = accepted(&stack(&[5.0]));
    assert_eq!(assembled.geometry.steps_mm[0], [0.0, 0.0, 3.0]);
    assert_eq!(assembled.notes, ["SINGLE_SLICE", "SPACING_FROM_THICKNESS"]);
}

#[test]
fn one_position_is_a_time_series() {
    assert_eq!(outcomes(&stack(&[1.0, 1.0, 1.0])), ["NOT_A_VOLUME_TIME_SERIES"]);
}

#[test]
fn duplicates() {
    let plain = stack(&[0.0, 2.0, 4.0]);
    let mut twice = plain.clone();
    twice.push(plain[1].clone());
    let assembled = accepted(&twice);
    assert_eq!(assembled.geometry.size, [3, 8, 8]);
    assert_eq!(assembled.notes, ["DUPLICATE_INSTANCE: 1 dropped"]);
    twice[3].pixel_digest = Digest::of(b"other");
    assert_eq!(outcomes(&twice), ["UID_CONFLICT"]);
    twice[3].sop_uid = "1.2.99".into();
    assert_eq!(outcomes(&twice), ["DUPLICATE_POSITION_AMBIGUOUS"]);
}

#[test]
fn whole_stacks_in_single_instances_are_a_part_each() {
    let frames = |number: u32| {
        let mut instance = slice(number, 0.0);
        let mut second = instance.frames[0].clone();
        second.position_mm = Some([0.0, 0.0, 2.0].map(Real::new));
        instance.frames.push(second);
        instance
    };
    assert_eq!(outcomes(&[frames(0), frames(1)]), vec!["[2, 8, 8]"; 2]);
}

#[test]
fn mixed_series_are_split_and_leftovers_named() {
    let sagittal = |number: u32| {
        let mut instance = at(number, [f64::from(number), 0.0, 0.0]);
        instance.frames[0].orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0].map(Real::new));
        instance
    };
    let mut mixed = stack(&[0.0, 2.0, 4.0]);
    mixed.extend((10..13).map(sagittal));
    assert_eq!(outcomes(&mixed), vec!["[3, 8, 8]"; 2]);
    mixed.truncate(4);
    assert_eq!(outcomes(&mixed), ["[3, 8, 8]", "LOCALIZER"]);
    mixed[3] = slice(20, 6.0);
    mixed[3].pixels.frame_size = [4, 4];
    assert_eq!(outcomes(&mixed), ["[3, 8, 8]", "MIXED_MATRIX"]);
    assert_eq!(outcomes(&[slice(0, 0.0), sagittal(1)]), ["LOCALIZER"]);
}

#[test]
fn what_is_no_slice_is_set_aside_by_name() {
    let mut series = stack(&[0.0, 2.0, 4.0, 6.0]);
    series[3].refusal = Some("LOCALIZER".into());
    assert_eq!(outcomes(&series), ["[3, 8, 8]", "LOCALIZER"]);
    series[3].refusal = None;
    series[3].frames[0].position_mm = None;
    assert_eq!(outcomes(&series), ["[3, 8, 8]", "NO_GEOMETRY"]);
    series[3] = slice(3, 6.0);
    series[3].frames[0].orientation = Some([1.0, 0.0, 0.0, 1.0, 0.0, 0.0].map(Real::new));
    assert_eq!(outcomes(&series), ["[3, 8, 8]", "BAD_GEOMETRY"]);
    series[3] = slice(3, 6.0);
    series[3].refusal = Some("UNSUPPORTED_TRANSFER_SYNTAX".into());
    assert_eq!(outcomes(&series), ["UNSUPPORTED_TRANSFER_SYNTAX"]);
    series[3].refusal = Some("TRUNCATED".into());
    assert_eq!(outcomes(&series), ["TRUNCATED"]);
    assert_eq!(outcomes(&[]), Vec::<String>::new());
}

/// The outcome of a part, with the names of its slices.
type Named = Result<(Geometry, Vec<f64>, Vec<String>, Vec<String>), Reject>;

fn named(instances: &[Instance], rules: Rules) -> Vec<Named> {
    let stack = |assembled: Assembled| {
        let slices = assembled.slices.iter();
        let sops = slices.map(|slice| instances[slice.instance].sop_uid.clone()).collect();
        (assembled.geometry, assembled.heights, sops, assembled.notes)
    };
    parts_with(instances, rules).into_iter().map(|part| part.verdict.map(stack)).collect()
}

proptest! {
    #[test]
    fn the_order_of_instances_does_not_matter(
        order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut all = Vec::new();
        for (number, z) in (0u32..).zip([0.0, 2.0, 4.0, 0.0, 2.0, 4.0]) {
            let echo = if number < 3 { "1" } else { "2" };
            all.push(with(slice(number, z), "EchoTime", echo));
        }
        all.extend((20u32..).zip([0.0, 1.0, 2.0, 3.0]).map(|(number, x)| {
            let mut instance = at(number, [x, 0.0, 0.0]);
            instance.frames[0].orientation = Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0].map(Real::new));
            instance
        }));
        all.push(slice(30, 50.0));
        all[10].pixels.frame_size = [4, 4];
        all.push(all[0].clone());
        let shuffled: Vec<Instance> = order.iter().map(|&index| all[index].clone()).collect();
        prop_assert_eq!(named(&all, Rules::default()), named(&shuffled, Rules::default()));
    }

    #[test]
    fn nor_with_planes_between_slices(
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        gaps in prop::collection::vec(1.0f64..3.0, 3),
        missing in prop::collection::vec(1u32..3, 3),
    ) {
        let rules = Rules { on_gap: OnGap::Interpolate, on_uneven: OnUneven::Resample };
        let missing = missing.into_iter().map(f64::from).collect::<Vec<_>>();
        for gaps in [gaps, missing] {
            // Three gaps of one millimetre make that the modal one.
            let mut height = 2.0;
            let heights = gaps.iter().chain(&[1.0; 2]).map(|gap| { height += gap; height });
            let all = stack(&std::iter::once(2.0).chain(heights).collect::<Vec<_>>());
            let shuffled: Vec<Instance> = order.iter().map(|&index| all[index].clone()).collect();
            let found = named(&all, rules);
            prop_assert!(found[0].is_ok(), "{:?}", found);
            prop_assert_eq!(found, named(&shuffled, rules));
        }
    }
}

#[test]
fn a_frame_of_reference_for_each_slice_is_none() {
    let framed = |count: u32, frame: fn(u32) -> String| -> Vec<Instance> {
        let one = |k: u32| Instance { frame_of_reference: frame(k), ..slice(k, 3.0 * f64::from(k)) };
        (0..count).map(one).collect()
    };
    let own = framed(8, |k| format!("1.9.{k}"));
    assert_eq!(outcomes(&own), ["[8, 8, 8]"]);
    assert_eq!(accepted(&own).notes, ["MIXED_FRAME_OF_REFERENCE: one for each slice"]);
    // Two frames of four slices each are two stacks, and two single slices are none.
    assert_eq!(outcomes(&framed(8, |k| format!("1.9.{}", k / 4))), ["[4, 8, 8]", "[4, 8, 8]"]);
    assert_eq!(outcomes(&framed(2, |k| format!("1.9.{k}"))).len(), 1);
}

#[test]
fn slices_of_a_series_each_are_gathered_to_one_scan() {
    let stray = |k: u32, z: f64| {
        let mut slice = with(slice(k, z), "InstanceNumber", &(k + 1).to_string());
        (slice.series_uid, slice.study_uid) = (format!("1.7.{k}"), "1.8".into());
        slice.tags = std::sync::Arc::new([("SeriesNumber".into(), "2".into())].into());
        slice
    };
    let eight: Vec<Instance> = (0..8).map(|k| stray(k, 3.0 * f64::from(k))).collect();
    let gathered = |instances: &[Instance]| gather(&instances.iter().collect::<Vec<_>>());
    let scan = gathered(&eight).unwrap().verdict.unwrap();
    assert_eq!(scan.geometry.size, [8, 8, 8]);
    assert_eq!(scan.notes, ["SERIES_PER_SLICE: 8 series of one slice are one scan"]);
    assert_eq!(eight.iter().map(stray_series).collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert_ne!(stray_series(&eight[0]).unwrap(), eight[0].series_uid);
    // Slices that are no even stack stay what they are, as do those of which one says another thing of
    // itself.
    let mut uneven = eight.clone();
    uneven[7] = stray(7, 100.0);
    assert_eq!(gathered(&uneven), None);
    let mut other = eight.clone();
    other[3].study_uid = "1.81".into();
    assert_eq!(gathered(&other), None);
    let mut numbered = eight.clone();
    numbered[3] = with(numbered[3].clone(), "InstanceNumber", "1");
    assert_eq!(gathered(&numbered), None);
    assert_eq!(gathered(&eight[..2]), None);
    // A series with other slices, too, is no stray.
    let mut shared = eight;
    shared[1].series_uid = shared[0].series_uid.clone();
    assert_eq!(gathered(&shared), None);
}

#[test]
fn slices_of_two_patients_are_no_scan_and_those_of_two_studies_are_told() {
    let mut slices = stack(&[0.0, 1.0, 2.0, 3.0]);
    slices[1].patient_id = "one".to_owned();
    slices[2].patient_id = "another".to_owned();
    let parts = assemble(&slices.iter().collect::<Vec<_>>());
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!(part.verdict.as_ref().unwrap_err().code, "MIXED_PATIENTS");
    assert_eq!(part.instances.len(), 4);
    // A slice that says nothing of its patient is nobody else's.
    slices[2].patient_id.clear();
    slices[0].study_uid = "1.2.8".to_owned();
    slices[1].study_uid = "1.2.9".to_owned();
    let parts = assemble(&slices.iter().collect::<Vec<_>>());
    let notes = &parts[0].verdict.as_ref().unwrap().notes;
    assert!(parts.len() == 1 && notes.contains(&"MIXED_STUDIES: 2".to_owned()), "{notes:?}");
}
