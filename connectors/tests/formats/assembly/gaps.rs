//! Gaps between slices: refused, split at, interpolated or resampled.

use tomoflow_connectors::Real;
use tomoflow_connectors::dicom::{Instance, OnGap, OnUneven, Rules, StackPart, says_between};

use super::{accepted, at, outcomes, parts, parts_with, slice, stack, with};

const SPLIT: Rules = Rules { on_gap: OnGap::Split, on_uneven: OnUneven::Reject };
const INTERPOLATE: Rules = Rules { on_gap: OnGap::Interpolate, on_uneven: OnUneven::Reject };
const RESAMPLE: Rules = Rules { on_gap: OnGap::Reject, on_uneven: OnUneven::Resample };

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
