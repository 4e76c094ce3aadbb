//! Samples are the same to the byte, whether cases are in memory or read by place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::view::Input;
use super::*;

/// A case somewhere else, which counts what is read of it.
#[derive(Debug)]
struct Elsewhere {
    scan: Vec<f32>,
    labels: Vec<u8>,
    read: AtomicUsize,
}

impl ByPlace for Elsewhere {
    fn intensities(&self, first: usize, into: &mut [f32]) -> Result<(), String> {
        self.read.fetch_add(into.len(), Ordering::Relaxed);
        into.copy_from_slice(self.scan.get(first..first + into.len()).ok_or("beyond")?);
        Ok(())
    }

    fn classes(&self, first: usize, into: &mut [u8]) -> Result<(), String> {
        into.copy_from_slice(self.labels.get(first..first + into.len()).ok_or("beyond")?);
        Ok(())
    }
}

/// A case whose voxels cannot be read any more.
#[derive(Debug)]
struct Gone;

impl ByPlace for Gone {
    fn intensities(&self, _: usize, _: &mut [f32]) -> Result<(), String> {
        Err("no disk".to_owned())
    }

    fn classes(&self, _: usize, _: &mut [u8]) -> Result<(), String> {
        Err("no disk".to_owned())
    }
}

const SPACING_MM: [f64; 3] = [2.5, 1.0, 0.8];

/// Intensities and classes of a case `[9, 14, 17]`, which differ from case to case.
fn voxels(number: usize, channels: usize) -> (Vec<f32>, Vec<u8>) {
    let count = 9 * 14 * 17;
    let scan = (0..count * channels).map(|i| ((i * 7919 + number * 31) % 1009) as f32 - 300.0).collect();
    let labels = (0..count).map(|i| [0, 0, 0, 1, 1, 3][(i / 13 + number) % 6]).collect();
    (scan, labels)
}

fn gathered(scan: &[f32], labels: &[u8], channels: usize) -> Gathering {
    let mut seen = Gathering::new([9, 14, 17], channels, true).unwrap();
    scan.iter().for_each(|value| seen.take(&value.to_le_bytes()));
    labels.chunks(100).for_each(|labels| seen.take(labels));
    seen
}

fn both(number: usize, channels: usize) -> (Arc<PreparedCase>, Arc<PreparedCase>, Arc<Elsewhere>) {
    let (scan, labels) = voxels(number, channels);
    let seen = gathered(&scan, &labels, channels);
    let elsewhere =
        Arc::new(Elsewhere { scan: scan.clone(), labels: labels.clone(), read: AtomicUsize::new(0) });
    let name = format!("case {number}");
    let held = PreparedCase::new(name.clone(), [9, 14, 17], SPACING_MM, scan.into(), labels.into()).unwrap();
    let apart = PreparedCase::by_place(name, [9, 14, 17], SPACING_MM, true, seen, elsewhere.clone()).unwrap();
    (Arc::new(held), Arc::new(apart), elsewhere)
}

fn augment(config: &serde_json::Value) -> Arc<Augment> {
    let stage = (super::super::augment::ENTRY.build)(config.as_object().unwrap());
    let Ok(crate::operators::registry::Stage::Augment(augment)) = stage else { panic!("an augmentation") };
    augment
}

#[test]
fn every_view_and_every_change_gives_the_same_samples() {
    let moving = serde_json::json!({
        "rotate_deg": [30.0, 15.0, 10.0], "scale": [0.7, 1.4], "elastic_mm": 2.0, "elastic_grid_mm": 8.0,
        "flip": ["h"], "noise": [0.0, 0.1], "probability": 0.8,
    });
    let patch = |size| InputView::Patch { size };
    for channels in [1, 2] {
        let cases: Vec<_> = (0..3).map(|number| both(number, channels)).collect();
        for input in [
            patch([3, 5, 6]),
            patch([12, 20, 18]),
            InputView::Stack { slices: 3, stride: 2 },
            InputView::Bag { stacks: 3, slices: 1, gap: 2 },
        ] {
            for placement in [Placement::Biased, Placement::Balanced, Placement::Grid { overlap: 0.3 }] {
                for changes in [vec![], vec![augment(&moving)]] {
                    let view = View {
                        input: Input::Voxels(input.clone()),
                        placement,
                        per_case: 6,
                        foreground: 0.6,
                        flip: true,
                        things: None,
                    };
                    let held = cases.iter().map(|(held, ..)| held.clone()).collect();
                    let apart = cases.iter().map(|(_, apart, _)| apart.clone()).collect();
                    let held = Dataset::new(view.clone(), held).augmented(changes.clone());
                    let apart = Dataset::new(view, apart).augmented(changes.clone());
                    assert_eq!(held.len(), apart.len());
                    for index in 0..held.len().min(24) {
                        let (one, other) =
                            (held.sample(index, 2, 5).unwrap(), apart.sample(index, 2, 5).unwrap());
                        let bits =
                            |sample: &Sample| sample.input.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                        assert_eq!(
                            (bits(&one), &one.target),
                            (bits(&other), &other.target),
                            "{input:?} {index}"
                        );
                    }
                }
            }
        }
        for (held, apart, _) in &cases {
            assert_eq!(held.present(), apart.present());
        }
    }
}

#[test]
fn of_a_case_no_more_is_read_than_a_sample_needs() {
    let (_, apart, elsewhere) = both(1, 1);
    let view = View {
        input: Input::Voxels(InputView::Patch { size: [2, 3, 4] }),
        placement: Placement::Biased,
        per_case: 4,
        foreground: 0.0,
        flip: false,
        things: None,
    };
    let data = Dataset::new(view, vec![apart]);
    assert_eq!(elsewhere.read.load(Ordering::Relaxed), 0);
    data.sample(0, 0, 0).unwrap();
    // Two slices, each from the first row's first voxel to the third row's last.
    assert_eq!(elsewhere.read.load(Ordering::Relaxed), 2 * (2 * 17 + 4));
}

#[test]
fn whole_cases_come_one_by_one_and_what_cannot_be_read_is_named() {
    let (held, apart, _) = both(4, 2);
    let (scan, labels) = voxels(4, 2);
    let gone = PreparedCase::by_place(
        "b",
        [9, 14, 17],
        SPACING_MM,
        true,
        gathered(&scan, &labels, 2),
        Arc::new(Gone),
    );
    let view = View {
        input: Input::Voxels(InputView::Stack { slices: 1, stride: 1 }),
        placement: Placement::Biased,
        per_case: 1,
        foreground: 0.0,
        flip: false,
        things: None,
    };
    let seen = |case: &Arc<PreparedCase>| {
        let mut seen = Vec::new();
        let count = Dataset::new(view.clone(), vec![case.clone()]).each_case(&mut |case| {
            seen.push((case.name.to_owned(), case.voxels.to_vec(), case.size, case.classes.to_vec()));
            Ok(())
        });
        assert_eq!(count.unwrap(), 1);
        seen
    };
    assert_eq!(seen(&held), seen(&apart));
    let gone = Dataset::new(view.clone(), vec![Arc::new(gone.unwrap())]);
    assert_eq!(gone.sample(0, 0, 0).unwrap_err(), "case b: no disk");
    let error = gone.each_case(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("case b: no disk"), "{error}");
    // Fewer voxels than the grid has.
    let short = gathered(&scan[1..], &labels, 2);
    let refused = PreparedCase::by_place("b", [9, 14, 17], SPACING_MM, true, short, Arc::new(Gone));
    assert_eq!(refused.unwrap_err().code, "GRID_MISMATCH");
}
