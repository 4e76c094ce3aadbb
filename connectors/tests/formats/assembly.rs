//! The hazards of a series, each on instances made in memory.

use proptest::prelude::*;
use tomoflow_connectors::dicom::{
    Assembled, Frame, Instance, OnGap, OnUneven, PixelFormat, Rules, StackPart, assemble, assemble_with,
    gather, says_between, stray_series,
};
use tomoflow_connectors::{Digest, Geometry, Real, Reject};

const SPLIT: Rules = Rules { on_gap: OnGap::Split, on_uneven: OnUneven::Reject };
const INTERPOLATE: Rules = Rules { on_gap: OnGap::Interpolate, on_uneven: OnUneven::Reject };
const RESAMPLE: Rules = Rules { on_gap: OnGap::Reject, on_uneven: OnUneven::Resample };

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

#[test]
fn a_series_with_a_gap_is_split_when_asked() {
    let heights = [0.0, 3.0, 6.0, 12.0, 15.0, 24.0];
    assert_eq!(outcomes(&stack(&heights)), ["MISSING_SLICE"]);
    let instances = stack(&heights);
    let split = |instances: &[Instance]| parts_with(instances, SPLIT);
    let parts = split(&instances);
    let found: Vec<_> = parts
        .iter()
        .map(|part| match &part.verdict {
            Ok(stack) => format!("{:?} from {}", stack.geometry.size, stack.geometry.origin_mm[2]),
            Err(reject) => reject.code.clone(),
        })
        .collect();
    assert_eq!(found, ["[3, 8, 8] from 0", "[2, 8, 8] from 12", "MISSING_SLICE"]);
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(parts[2].instances, [5]);
    assert!(parts[..2].iter().all(|part| self::found(part).unwrap().1.is_empty()));
    let noted = |part: &StackPart| part.verdict.as_ref().unwrap().notes.concat().contains("split at the gap");
    assert!(noted(&parts[0]) && noted(&parts[1]));
    // There is nothing to split without a gap, or with uneven ones.
    assert_eq!(split(&stack(&[0.0, 3.0, 6.0])), self::parts(&stack(&[0.0, 3.0, 6.0])));
    let uneven = split(&stack(&[0.0, 3.0, 7.0]));
    assert_eq!(uneven[0].verdict.as_ref().unwrap_err().code, "VARIABLE_SPACING");
}

fn parts(instances: &[Instance]) -> Vec<StackPart> {
    assemble(&instances.iter().collect::<Vec<_>>())
}

fn parts_with(instances: &[Instance], rules: Rules) -> Vec<StackPart> {
    assemble_with(&instances.iter().collect::<Vec<_>>(), rules)
}

/// The size, heights and notes of a stack.
type Stacked<'a> = ([usize; 3], &'a [f64], &'a [String]);

/// The outcome of a part, or the code of its refusal.
fn found(part: &StackPart) -> Result<Stacked<'_>, &str> {
    let stack = part.verdict.as_ref().map_err(|reject| reject.code.as_str())?;
    assert_eq!(stack.notes.iter().any(|note| says_between(note)), !stack.heights.is_empty());
    Ok((stack.geometry.size, &stack.heights, &stack.notes))
}

#[test]
fn missing_slices_are_interpolated_when_asked() {
    let gapped = stack(&[0.0, 2.0, 6.0, 8.0, 14.0]);
    let parts = parts_with(&gapped, INTERPOLATE);
    let notes = ["MISSING_SLICE: 3 of 8 slice(s) interpolated".to_owned()];
    assert_eq!(found(&parts[0]), Ok(([8, 8, 8], &[0.0, 1.0, 3.0, 4.0, 7.0][..], &notes[..])));
    let geometry = &parts[0].verdict.as_ref().unwrap().geometry;
    assert_eq!((geometry.steps_mm[0], geometry.origin_mm), ([0.0, 0.0, 2.0], [0.0; 3]));
    assert_eq!((parts.len(), &parts[0].instances[..]), (1, &[0, 1, 2, 3, 4][..]));
    // A stack without gaps is what it was, and uneven gaps are no missing slices.
    for heights in [&[0.0, 2.0, 4.0][..], &[0.0, 2.0, 5.1], &[3.0]] {
        let plain = stack(heights);
        assert_eq!(parts_with(&plain, INTERPOLATE), self::parts(&plain));
        let rules = Rules { on_gap: OnGap::Interpolate, ..RESAMPLE };
        if heights.len() != 3 || heights[2] == 4.0 {
            assert_eq!(parts_with(&plain, rules), self::parts(&plain));
        }
    }
    // A stack that has another fault is still refused.
    let mut moved = gapped.clone();
    moved[2] = at(2, [1.0, 0.0, 6.0]);
    assert_eq!(found(&parts_with(&moved, INTERPOLATE)[0]), Err("NON_COLLINEAR_POSITIONS"));
    let mut twice = gapped.clone();
    twice.push(slice(9, 2.0));
    assert_eq!(found(&parts_with(&twice, INTERPOLATE)[0]), Err("DUPLICATE_POSITION_AMBIGUOUS"));
    let mut cut = gapped;
    cut[4].refusal = Some("TRUNCATED".into());
    assert_eq!(parts_with(&cut, INTERPOLATE)[0].verdict.as_ref().unwrap_err().code, "TRUNCATED");
}

#[test]
fn uneven_slices_are_resampled_when_asked() {
    // The positions are sheared: a quarter of a millimetre across for each along.
    let tilted = |heights: &[f64]| -> Vec<Instance> {
        (0u32..).zip(heights).map(|(number, &z)| at(number, [0.0, 0.25 * z, z])).collect()
    };
    let uneven = tilted(&[4.0, 6.0, 8.0, 11.0, 13.0, 14.5]);
    let parts = parts_with(&uneven, RESAMPLE);
    let spacing = (4.25f64).sqrt();
    let notes = ["GANTRY_TILT".to_owned(), format!("VARIABLE_SPACING: resampled to {:.3} mm", spacing)];
    assert_eq!(found(&parts[0]), Ok(([6, 8, 8], &[0.0, 1.0, 2.0, 3.5, 4.5, 5.25][..], &notes[..])));
    let geometry = &parts[0].verdict.as_ref().unwrap().geometry;
    assert_eq!((geometry.steps_mm[0], geometry.origin_mm), ([0.0, 0.5, 2.0], [0.0, 1.0, 4.0]));
    assert_eq!(found(&self::parts(&uneven)[0]), Err("VARIABLE_SPACING"));
    assert_eq!(found(&parts_with(&uneven, INTERPOLATE)[0]), Err("VARIABLE_SPACING"));
    let wide = parts_with(&tilted(&[0.0, 2.0, 4.0, 11.0]), RESAMPLE);
    assert_eq!(found(&wide[0]), Err("VARIABLE_SPACING"));
    assert!(wide[0].verdict.as_ref().unwrap_err().message.contains("at most 3 times"));
    // Gaps that are multiples are missing slices, however wide.
    assert_eq!(found(&parts_with(&tilted(&[0.0, 2.0, 4.0, 12.0]), RESAMPLE)[0]), Err("MISSING_SLICE"));
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
fn gaps() {
    assert_eq!(outcomes(&stack(&[0.0, 2.0, 4.0])), ["[3, 8, 8]"]);
    assert_eq!(outcomes(&stack(&[0.0, 2.0, 6.0])), ["MISSING_SLICE"]);
    assert_eq!(outcomes(&stack(&[0.0, 2.0, 5.1])), ["VARIABLE_SPACING"]);
    assert_eq!(
        outcomes(&[at(0, [0.0; 3]), at(1, [1.0, 0.0, 1.0]), at(2, [0.0, 0.0, 2.0])]),
        ["NON_COLLINEAR_POSITIONS"]
    );
}

#[test]
fn slices_farther_apart_than_they_declare_are_told_and_refused_where_numbers_say_so() {
    let series = |declared: f64, times: u32| -> Vec<Instance> {
        let one = |k: u32| {
            let mut slice = slice(k, 6.0 * f64::from(k));
            slice.frames[0].gap_mm = Some(Real::new(declared));
            with(slice, "InstanceNumber", &(times * k + 1).to_string())
        };
        (0..4).map(one).collect()
    };
    // Slices that are numbered one after another may have the gap of faces declared.
    assert_eq!(accepted(&series(3.0, 1)).notes, ["GAP_DECLARED: slices 3 mm apart declared, 6.000 mm found"]);
    let reject = parts(&series(3.0, 2)).remove(0).verdict.unwrap_err();
    assert_eq!(reject.code, "MISSING_SLICE");
    assert!(
        reject.message.contains("3 mm apart expected") && reject.message.contains("6.000 mm found"),
        "{reject}"
    );
    let mut down = series(2.0, 3);
    for (slice, number) in down.iter_mut().zip(["10", "7", "4", "1"]) {
        slice.frames[0].order.insert("InstanceNumber".into(), number.to_owned());
    }
    assert_eq!(outcomes(&down), ["MISSING_SLICE"]);
    // The gap is as declared, smaller than declared, or no whole multiple of the declared one.
    for declared in [6.0, 12.0, 4.0] {
        assert_eq!(accepted(&series(declared, 2)).notes, [""; 0], "{declared}");
    }
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
fn stacks_at_the_same_positions_are_told_apart() {
    for keyword in ["EchoTime", "TemporalPosition", "AcquisitionNumber", "InstanceNumber"] {
        // The values sort as numbers: ten after nine.
        let both = (0u32..).zip([0.0, 2.0, 0.0, 2.0]).map(|(number, z)| {
            let value = if number < 2 { 10 } else { 9 };
            with(slice(number, z), keyword, &value.to_string())
        });
        let both = both.collect::<Vec<_>>();
        let parts = parts(&both);
        let sources: Vec<Vec<usize>> = parts
            .iter()
            .map(|part| part.verdict.as_ref().unwrap().slices.iter().map(|s| s.instance).collect())
            .collect();
        assert_eq!(sources, [[2, 3], [0, 1]], "{keyword}");
        assert_eq!(
            parts[0].verdict.as_ref().unwrap().notes,
            [format!("DUPLICATE_POSITION: split by {keyword}")]
        );
    }
}

/// Two acquisitions of eight slices at the same heights, numbered and told of by these.
fn two_at_once(number: fn(u32, u32) -> u32, say: fn(Instance, u32, u32) -> Instance) -> Vec<Instance> {
    let one = |t: u32, k: u32| {
        let slice = slice(8 * t + k, 3.0 * f64::from(k));
        say(with(slice, "InstanceNumber", &number(t, k).to_string()), t, k)
    };
    (0..2).flat_map(|t| (0..8).map(move |k| one(t, k))).collect()
}

/// The acquisitions that the slices of each accepted stack are of; or the code of a refusal.
fn acquisitions(instances: &[Instance]) -> Vec<Result<Vec<usize>, String>> {
    let of = |assembled: Assembled| {
        let mut found: Vec<usize> = assembled.slices.iter().map(|slice| slice.instance / 8).collect();
        found.dedup();
        found
    };
    parts(instances).into_iter().map(|part| part.verdict.map(of).map_err(|reject| reject.code)).collect()
}

#[test]
fn acquisitions_numbered_up_and_down_are_never_mixed() {
    let (first, second) = (Ok(vec![0]), Ok(vec![1]));
    let up_and_down = |t: u32, k: u32| if t == 0 { k + 1 } else { 8 - k };
    let bare = two_at_once(up_and_down, |slice, _, _| slice);
    assert_eq!(acquisitions(&bare), [Err("DUPLICATE_POSITION_AMBIGUOUS".to_owned())]);
    let described = two_at_once(up_and_down, |mut slice, t, _| {
        slice.tags = std::sync::Arc::new([("SeriesDescription".into(), format!("T{}", t + 1))].into());
        slice
    });
    assert_eq!(acquisitions(&described), [first.clone(), second.clone()]);
    assert_eq!(accepted(&described).notes, ["DUPLICATE_POSITION: split by SeriesDescription"]);
    // Numbers that change their order from place to place, beside an echo time that jitters.
    let snake = |t: u32, k: u32| 2 * k + 1 + (t + k) % 2;
    let echoes = two_at_once(snake, |slice, t, k| {
        with(slice, "EchoTime", &(f64::from(10 * (t + 1)) + f64::from(k % 3) / 10.0).to_string())
    });
    assert_eq!(acquisitions(&echoes), [first.clone(), second.clone()]);
    let flips = two_at_once(snake, |slice, t, _| tagged(slice, "FlipAngle", ["5", "25"][t as usize]));
    assert_eq!(acquisitions(&flips), [first.clone(), second.clone()]);
    let contrast = two_at_once(snake, |slice, t, _| match t {
        0 => slice,
        _ => tagged(slice, "ContrastBolusAgent", "Gd"),
    });
    assert_eq!(acquisitions(&contrast), [first.clone(), second.clone()]);
    // What numbers say alone is believed where they run alike, or one after the other.
    let ways: [fn(u32, u32) -> u32; 5] = [
        |t, k| 8 * t + k + 1,
        |t, k| 2 * k + t + 1,
        |t, k| 16 - 8 * t - k,
        |t, k| if t == 0 { k + 1 } else { 16 - k },
        // Odd slices come before even ones, twice.
        |t, k| 8 * t + k / 2 + 4 * (k % 2) + 1,
    ];
    for (way, number) in ways.into_iter().enumerate() {
        let plain = two_at_once(number, |slice, _, _| slice);
        let mut found = acquisitions(&plain);
        found.sort();
        assert_eq!(found, [first.clone(), second.clone()], "way {way}");
        assert_eq!(accepted(&plain).notes, ["DUPLICATE_POSITION: split by InstanceNumber"], "way {way}");
    }
}

#[test]
fn two_attributes_together_tell_four_stacks_apart() {
    let mut all = Vec::new();
    for (number, (echo, kind)) in (0u32..).zip([("1", "M"), ("1", "P"), ("2", "M"), ("2", "P")]) {
        for (step, z) in [(0, 0.0), (1, 2.0)] {
            let instance = with(slice(number * 2 + step, z), "EchoTime", echo);
            all.push(with(instance, "ImageType", &format!("ORIGINAL\\PRIMARY\\{kind}")));
        }
    }
    assert_eq!(outcomes(&all), vec!["[2, 8, 8]"; 4]);
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

/// A pass of an acquisition: slices from a height on, so far apart.
fn pass(first: u32, from: f64, gap: f64, count: u32, acquisition: &str, thickness: f64) -> Vec<Instance> {
    let one = |k: u32| {
        let mut slice = slice(first + k, from + gap * f64::from(k));
        slice.frames[0].thickness_mm = Some(Real::new(thickness));
        with(slice, "AcquisitionNumber", acquisition)
    };
    (0..count).map(one).collect()
}

#[test]
fn passes_of_unequal_length_are_told_apart_by_their_acquisition() {
    let series =
        |second: u32| [pass(0, 0.0, 3.0, 8, "1", 3.0), pass(20, 6.0, 3.0, second, "2", 3.0)].concat();
    assert_eq!(outcomes(&series(10)), ["[8, 8, 8]", "[10, 8, 8]"]);
    let notes = accepted(&series(10)).notes;
    assert_eq!(notes, ["DUPLICATE_POSITION: split by AcquisitionNumber into 8 and 10 slices"]);
    // A pass with a gap says that slices were lost.
    let mut lost = series(10);
    lost.remove(12);
    assert_eq!(outcomes(&lost), ["DUPLICATE_POSITION_AMBIGUOUS"]);
    // Echoes are taken together: that there are fewer of one means the same.
    let echoes: Vec<Instance> = series(10)
        .into_iter()
        .map(|mut slice| {
            let echo = slice.frames[0].order.remove("AcquisitionNumber").unwrap();
            with(slice, "EchoTime", &echo)
        })
        .collect();
    assert_eq!(outcomes(&echoes), ["DUPLICATE_POSITION_AMBIGUOUS"]);
}

#[test]
fn passes_between_one_another_are_scans_of_their_own_and_packages_one() {
    let two = |thickness: f64| {
        [pass(0, 0.0, 5.0, 8, "1", thickness), pass(20, 2.5, 5.0, 8, "2", thickness)].concat()
    };
    assert_eq!(outcomes(&two(5.0)), ["[8, 8, 8]", "[8, 8, 8]"]);
    assert_eq!(accepted(&two(5.0)).geometry.spacing_mm()[0], 5.0);
    assert_eq!(accepted(&two(5.0)).notes, ["INTERLEAVED_ACQUISITIONS: split by AcquisitionNumber"]);
    // The passes are packages: odd and even slices, as thick as the distance of neighbours, or with that
    // declared.
    assert_eq!(outcomes(&two(2.5)), ["[16, 8, 8]"]);
    let mut declared = two(5.0);
    declared.iter_mut().for_each(|slice| slice.frames[0].gap_mm = Some(Real::new(2.5)));
    assert_eq!(outcomes(&declared), ["[16, 8, 8]"]);
    // These passes are neither equally long nor half a gap apart.
    let other = [pass(0, 0.0, 5.0, 8, "1", 5.0), pass(20, 1.0, 5.0, 6, "2", 5.0)].concat();
    assert_eq!(outcomes(&other), ["[8, 8, 8]", "[6, 8, 8]"]);
    // The acquisition of overlapping slices goes on with another number.
    let on = [pass(0, 0.0, 2.5, 8, "1", 5.0), pass(20, 20.0, 2.5, 8, "2", 5.0)].concat();
    assert_eq!(outcomes(&on), ["[16, 8, 8]"]);
    // A number for each slice says nothing.
    let each: Vec<Instance> =
        (0..8).flat_map(|k| pass(k, 2.5 * f64::from(k), 2.5, 1, &k.to_string(), 5.0)).collect();
    assert_eq!(outcomes(&each), ["[8, 8, 8]"]);
}

#[test]
fn passes_between_one_another_differ_in_more_than_a_number() {
    let two = |say: &dyn Fn(Instance, usize) -> Instance| -> Vec<Instance> {
        let pass = |t: usize| {
            let one = move |k: u32| slice(8 * t as u32 + k, 3.0 * f64::from(k) + 1.5 * t as f64);
            (0..8).map(one).map(|slice| say(slice, t)).collect::<Vec<_>>()
        };
        [pass(0), pass(1)].concat()
    };
    for (keyword, values) in [
        ("EchoTime", ["10", "90"]),
        ("KVP", ["80", "140"]),
        ("ConvolutionKernel", ["B30", "B70"]),
        ("ContrastBolusAgent", ["", "Gd"]),
    ] {
        let series = two(&|slice, t| match values[t] {
            "" => slice,
            value if keyword == "EchoTime" => with(slice, keyword, value),
            value => tagged(slice, keyword, value),
        });
        assert_eq!(outcomes(&series), ["[8, 8, 8]", "[8, 8, 8]"], "{keyword}");
        assert_eq!(accepted(&series).notes, [format!("INTERLEAVED_ACQUISITIONS: split by {keyword}")]);
    }
    let described = two(&|mut slice, t| {
        slice.tags = std::sync::Arc::new([("SeriesDescription".into(), ["a", "b"][t].into())].into());
        slice
    });
    assert_eq!(outcomes(&described), ["[8, 8, 8]", "[8, 8, 8]"]);
    // Values that differ by little are of one scan.
    let jitter = two(&|slice, t| with(slice, "EchoTime", ["10", "10.2"][t]));
    assert_eq!((outcomes(&jitter), accepted(&jitter).notes.len()), (vec!["[16, 8, 8]".to_owned()], 0));
    // A pass with a gap is refused, and acquisitions of unknown thickness are told.
    let mut lost = two(&|slice, t| tagged(slice, "KVP", ["80", "140"][t]));
    lost[3] = tagged(slice(3, 9.0), "KVP", "140");
    assert_eq!(outcomes(&lost), ["ALTERNATING_SLICES"]);
    for keyword in ["AcquisitionNumber", "AcquisitionTime"] {
        let unknown = two(&|mut slice, t| {
            slice.frames[0].thickness_mm = None;
            with(slice, keyword, ["1", "2"][t])
        });
        assert_eq!(accepted(&unknown).notes, [format!("ALTERNATING_SLICES: neighbours differ in {keyword}")]);
    }
    let packages = two(&|mut slice, t| {
        slice.frames[0].thickness_mm = Some(Real::new(1.5));
        with(slice, "AcquisitionNumber", ["1", "2"][t])
    });
    assert_eq!((outcomes(&packages), accepted(&packages).notes.len()), (vec!["[16, 8, 8]".to_owned()], 0));
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
