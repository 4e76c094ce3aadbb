//! What is wanted again is wanted once; what was told is taken back.

use tomoflow_connectors::Geometry;

use super::*;
use crate::engine::session;
use crate::executor::work::{SeriesRow, Verdict};
use crate::operators::registry::Registry;
use crate::pipeline::{self, StageId};

const PIPELINE: &str = r#"
[pipeline]
name = "test"
out = "out"

[sources.scans]
type = "dicom"
path = "archive"

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.bright]
type = "threshold"
inputs = ["volume"]
above = 500

[sinks.results]
type = "delta"
inputs = ["bright"]
"#;

fn scan(content: &[u8]) -> Input {
    let row = SeriesRow {
        list: Digest::of(content),
        digest: Digest::of(content),
        ..SeriesRow::sample("1.2", &Geometry::axis_aligned([4, 16, 16], [1.5, 0.4, 0.4]))
    };
    Input::Series(StageId::at(1), Verdict::Accepted(Arc::new(row)))
}

#[test]
fn what_is_wanted_again_is_wanted_once_and_what_was_told_is_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pipeline.toml");
    std::fs::write(&path, PIPELINE).unwrap();
    let plan = Arc::new(pipeline::load(&path, &[], &Registry::builtin()).unwrap());
    let store = Arc::new(Store::open(&plan.settings.out).unwrap());
    let control = Control::start(plan.clone(), 1).unwrap();
    let context = session::context(&plan, &store);
    let mut driver = Driver::new(context, store.clone(), control, None, false);
    let counts = |driver: &Driver| -> Vec<isize> { driver.wanted.values().flat_map(Asked::counts).collect() };
    for _ in 0..3 {
        driver.change(vec![(scan(b"a"), 1)]).unwrap();
        assert_eq!((counts(&driver), driver.queued.len()), (vec![1], 1));
        driver.change(vec![(scan(b"a"), -1)]).unwrap();
        assert_eq!((counts(&driver), driver.queued.len()), (vec![], 0));
        driver.change(vec![(scan(b"a"), 1), (scan(b"b"), 1), (scan(b"b"), -1)]).unwrap();
        assert_eq!(counts(&driver), [1]);
        // Another content in its place, in one step.
        driver.change(vec![(scan(b"a"), -1), (scan(b"b"), 1)]).unwrap();
        assert_eq!(counts(&driver), [1]);
        driver.change(vec![(scan(b"b"), -1)]).unwrap();
        assert!(driver.wanted.is_empty() && driver.desired.is_empty() && driver.idle());
    }
    // What an action led to is told, and goes as it was told, whatever the store says by then.
    driver.change(vec![(scan(b"a"), 1)]).unwrap();
    let key = *driver.wanted.keys().next().unwrap();
    let outcome = |text: &[u8]| {
        let (artifact, figures) = (store.artifacts().put(text).unwrap(), Arc::default());
        Outcome::Ok { artifact, detail: None, figures, notes: [].into() }
    };
    driver.feed(key, outcome(b"one"));
    driver.settle().unwrap();
    let rows = driver.desired.len();
    assert!(rows > 1 && driver.desired.values().all(|count| *count == 1));
    let recorded = Recorded { outcome: outcome(b"another"), seconds: 0.0 };
    store.record(&[(key, recorded)], &[]).unwrap();
    driver.change(vec![(scan(b"a"), -1)]).unwrap();
    assert!(driver.desired.is_empty(), "{:?}", driver.desired);
}
