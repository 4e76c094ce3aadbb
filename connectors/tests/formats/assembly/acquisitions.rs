//! Several acquisitions in one series: told apart by what they say, and never mixed.

use tomoflow_connectors::Real;
use tomoflow_connectors::dicom::{Assembled, Instance};

use super::{accepted, outcomes, parts, slice, tagged, with};

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
