//! The report: made from tables, in one file, with nothing from outside that it could run or fetch.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tomoflow::connectors::RunLength;
use tomoflow::connectors::table::{
    CaseRow, CommitId, DeltaTable, MetricRow, RejectRow, Rows, RunRow, TrainingRow,
};
use tomoflow::report::{CasePicture, HeatMap, ReportContext, ReportError, write};

/// What a scanner's technician could have typed into a description, at worst.
const HOSTILE: &str = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>";

fn fill(tables: &Path, rows: Rows) {
    let commit = CommitId { app: "tests".to_owned(), version: 1 };
    let mut table = DeltaTable::open(&tables.join(rows.table().name()), rows.table()).unwrap();
    table.replace(&BTreeSet::new(), [rows], &commit).unwrap();
}

/// Figures without a random generator: a fraction that jumps about.
fn noise(n: usize) -> f64 {
    (n as f64 * 0.618_033_988_7).fract()
}

fn metrics(text: &str) -> Vec<MetricRow> {
    let splits = [("train", 120), ("validation", 20), ("test", 47)];
    let mut rows = Vec::new();
    for (index, (split, case)) in splits.iter().flat_map(|(s, n)| (0..*n).map(move |c| (s, c))).enumerate() {
        let dice = 1.0 - 0.08 * (1.0 + 4.0 * noise(index).powi(4)) * (1.0 + noise(index * 7));
        for (metric, unit, value) in [
            ("dice", "", dice),
            ("assd", "mm", 4.0 * (1.0 - dice)),
            ("relative_volume_error", "%", 300.0 * (dice - 0.9)),
        ] {
            let state = match (metric, case % 23) {
                (_, 11) => "empty_prediction",
                ("assd", 17) => "both_empty",
                _ => "ok",
            };
            rows.push(MetricRow {
                entry: "m".into(),
                case: format!("1.2.826.0.1.{case}{text}"),
                split: (*split).into(),
                label: "tumour".into(),
                metric: metric.into(),
                // A missed lesion has a Dice of zero and no surface distance.
                value: match (metric, state) {
                    (_, "ok") => Some(value),
                    ("dice", "empty_prediction") => Some(0.0),
                    _ => None,
                },
                unit: unit.into(),
                state: state.into(),
                stage: "scores".into(),
                model: "9f2c".into(),
                ..MetricRow::default()
            });
        }
    }
    rows
}

fn training(text: &str) -> Vec<TrainingRow> {
    let mut rows = Vec::new();
    for epoch in 1..=60i64 {
        let fall = (-epoch as f64 / 15.0).exp();
        let jump = 0.02 * noise(epoch as usize);
        for (name, split, value) in [
            ("loss", "train", 0.15 + 0.7 * fall + jump / 2.0),
            ("loss", "validation", 0.22 + 0.65 * fall + jump + 0.0008 * epoch as f64),
            ("dice", "validation", 0.86 - 0.7 * fall - jump),
        ] {
            rows.push(TrainingRow {
                entry: "t".into(),
                model: "9f2c41d0aa7712e5".into(),
                stage: format!("net{text}"),
                step: epoch * 120,
                epoch,
                split: split.into(),
                name: name.into(),
                value,
            });
        }
    }
    rows
}

fn synthetic(tables: &Path, text: &str) {
    let scanners = [
        ("SIEMENS", "Avanto", 130, 1.5, 0.4),
        ("Philips Medical Systems", "Ingenia", 62, 1.5, 0.45),
        ("GE", "", 53, 3.0, 0.5),
    ];
    let cases = scanners.iter().flat_map(|&(maker, model, n, d, w)| {
        (0..n).map(move |case| CaseRow {
            entry: "c".into(),
            case: format!("{maker}.{case}"),
            modality: "MR".into(),
            manufacturer: format!("{maker}{text}"),
            model_name: model.into(),
            slices: 80 + (40.0 * noise(case)) as i64,
            spacing_d_mm: d,
            spacing_h_mm: w,
            spacing_w_mm: w,
            labelled: case % 9 != 0,
            notes: if case % 31 == 0 { vec![format!("tilted gantry{text}")] } else { Vec::new() },
            ..CaseRow::default()
        })
    });
    fill(tables, Rows::Cases(cases.collect()));
    let reject = |n: usize, code: &str, message: &str, hint: &str| RejectRow {
        entry: "r".into(),
        key: format!("1.2.826.0.1.3680043.8.{n}"),
        stage: "volume".into(),
        code: format!("{code}{text}"),
        message: format!("{message}{text}"),
        hint: hint.into(),
        attempts: 1,
    };
    let gap = "slices 2.5 mm apart expected, a gap of 5.0 mm found after slice 41";
    let mut rejects: Vec<RejectRow> = (0..14)
        .map(|n| {
            reject(
                n,
                "MISSING_SLICE",
                gap,
                "an instance may be missing; `on_gap = \"split\"` keeps both parts",
            )
        })
        .collect();
    rejects.push(reject(
        99,
        "TRUNCATED",
        "524288 bytes of pixels expected, 1031 found",
        "fetch the file again",
    ));
    fill(tables, Rows::Rejects(rejects));
    fill(tables, Rows::Metrics(metrics(text)));
    fill(tables, Rows::Training(training(text)));
    let run = |day: i64| RunRow {
        entry: "u".into(),
        started: humantime::parse_rfc3339(&format!("2026-11-{day:02}T02:00:07.123Z")).unwrap().into(),
        seconds: 61.5 * day as f64,
        pipeline: text.into(),
        plan_digest: "5bd1e995c0ffee00".into(),
        version: "0.1.0".into(),
        cases: 245,
        processed: 12,
        unchanged: 233,
        rejected: 15,
        actions_run: 48,
        actions_cached: 932,
        finished: day != 18,
    };
    fill(tables, Rows::Runs((9..=20).map(run).collect()));
}

/// A bright ellipse in a head-like disc, with a truth and a prediction that differ a little.
fn picture(case: &str, caption: &str, centre: (f64, f64), radius: f64) -> CasePicture {
    let (rows, columns) = (320, 256);
    let inside = |index: usize, centre: (f64, f64), radius: f64| {
        let (r, c) = ((index / columns) as f64 - centre.0, (index % columns) as f64 - centre.1);
        (r / 1.2).powi(2) + c.powi(2) < radius.powi(2)
    };
    let mask = |centre, radius| {
        let slice: Vec<u16> = (0..rows * columns).map(|i| u16::from(inside(i, centre, radius))).collect();
        RunLength::encode(&slice, 1)
    };
    let pixels = (0..rows * columns).map(|index| {
        let grey = if inside(index, (160.0, 128.0), 110.0) { 70.0 } else { 8.0 };
        let lesion = if inside(index, centre, radius) { 110.0 } else { 0.0 };
        (grey + lesion + 30.0 * noise(index)) as u8
    });
    CasePicture {
        case: case.into(),
        caption: caption.into(),
        rows,
        columns,
        spacing_h_mm: 0.6,
        spacing_w_mm: 0.8,
        pixels: pixels.collect(),
        truth: Some(mask(centre, radius)),
        prediction: Some(mask((centre.0 + 3.0, centre.1 - 2.0), radius * 0.9)),
        heats: Vec::new(),
        boxes: Vec::new(),
    }
}

fn context(text: &str) -> ReportContext {
    ReportContext {
        pipeline_name: format!("vestibular-schwannoma{text}"),
        cases: vec![
            picture(&format!("1.2.826.0.1.41{text}"), &format!("worst Dice, 0.41{text}"), (150.0, 90.0), 6.0),
            picture("1.2.826.0.1.7", "median Dice, 0.88", (170.0, 150.0), 14.0),
            picture("1.2.826.0.1.102", "best Dice, 0.95", (160.0, 128.0), 70.0),
        ],
        ..ReportContext::default()
    }
}

#[test]
fn a_report_says_what_the_tables_hold() {
    let dir = tempfile::tempdir().unwrap();
    let tables = dir.path().join("tables");
    synthetic(&tables, "");
    let out =
        std::env::var_os("TOMOFLOW_TEST_REPORT").map_or(dir.path().join("made/report.html"), Into::into);
    write(&tables, &out, context("")).unwrap();
    let page = fs::read_to_string(&out).unwrap();
    for expected in [
        "<h1>vestibular-schwannoma</h1>",
        "The last run started 2026-11-20 02:00 UTC and took 20 min 30 s.",
        "<b>245</b><span>cases</span><small>217 labelled</small>",
        "<b>15</b><span>rejects</span>",
        "14 <code>MISSING_SLICE</code>",
        "<em>interrupted</em>",
        "relative volume error (%)",
        "2 empty prediction <span class=dim>(counted)</span>",
        "2 both empty <span class=dim>(not counted)</span>",
        "of 47 figures, split test</small>",
        "best 0.846 at epoch 60",
        "<td class=n>0.738 ± 0.224</td>",
        "median Dice, 0.88",
    ] {
        assert!(page.contains(expected), "`{expected}` expected in {}", out.display());
    }
    assert_eq!(page.matches("data:image/png;base64,").count(), 3);
    assert!(!page.contains("NaN") && !page.contains("inf\""));
    let order: Vec<_> = ["Figures", "Cases", "Training", "Archive", "Rejects", "Runs"]
        .map(|title| page.find(&format!("<h2>{title}</h2>")).unwrap())
        .into();
    assert!(order.is_sorted());
}

#[test]
fn maps_that_were_kept_are_shown_with_what_their_colours_mean() {
    let dir = tempfile::tempdir().unwrap();
    let out =
        std::env::var_os("TOMOFLOW_TEST_REPORT_MAPS").map_or(dir.path().join("report.html"), Into::into);
    let mut context = context("");
    let plain = context.cases.len();
    for (case, centre) in context.cases.iter_mut().zip([(153.0, 88.0), (173.0, 148.0)]) {
        // A ring of doubt, and a broad glow.
        let from = |index: usize| {
            let (r, c) = ((index / 256) as f64 - centre.0, (index % 256) as f64 - centre.1);
            (r / 1.2).hypot(c)
        };
        let byte = |share: f64| (254.0 * share).round() as u8;
        let entropy =
            (0..case.pixels.len()).map(|i| byte((-((from(i) - 10.0) / 3.0).powi(2)).exp())).collect();
        let attention = (0..case.pixels.len()).map(|i| byte(0.05 + 0.9 * (-from(i) / 30.0).exp())).collect();
        case.heats = vec![
            HeatMap { name: "entropy".into(), shares: entropy },
            HeatMap { name: "attention".into(), shares: attention },
        ];
    }
    write(&dir.path().join("none"), &out, context).unwrap();
    let page = fs::read_to_string(&out).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), plain + 4);
    for expected in [
        "aria-label=\"entropy of 1.2.826.0.1.41\"",
        "<span>attention</span>",
        "entropy of the probabilities, as a share of ln(classes)",
        "linear-gradient(to right, rgb(0,0,4)",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    // Without maps there is no bar.
    write(&dir.path().join("none"), &out.with_extension("plain"), self::context("")).unwrap();
    assert!(!fs::read_to_string(out.with_extension("plain")).unwrap().contains("linear-gradient"));
}

#[test]
fn nothing_from_a_table_leaves_its_place() {
    let dir = tempfile::tempdir().unwrap();
    synthetic(dir.path(), HOSTILE);
    let out = dir.path().join("report.html");
    write(dir.path(), &out, context(HOSTILE)).unwrap();
    let page = fs::read_to_string(out).unwrap();
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    let tags = |page: &str| -> BTreeSet<String> {
        let names =
            page.split('<').skip(1).map(|tag| tag.chars().take_while(|c| c.is_alphanumeric()).collect());
        names.collect()
    };
    for tag in ["script", "img", "link", "iframe", "object", "embed", "base", "form", "a", "foreignObject"] {
        assert!(!tags(&page).contains(tag), "<{tag}> found");
    }
    // Every reference is to the page itself; what is quoted stays text, so the escaped forms are cut out.
    for (name, allowed) in
        [("href=", ["\"#slice", "\"data:image/png;base64,"]), ("src=", ["", ""]), ("url(", ["", ""])]
    {
        for (at, _) in page.match_indices(name) {
            let rest = &page[at + name.len()..];
            let text = rest.starts_with("http://evil.example/x onerror=alert(1)&gt;");
            let own = allowed.iter().any(|start| !start.is_empty() && rest.starts_with(start));
            assert!(own || text, "{name}{}", rest.chars().take(60).collect::<String>());
        }
    }
    assert!(!page.contains("@import") && page.contains("default-src 'none'"));
}

#[test]
fn no_tables_make_a_page_and_damaged_pictures_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("report.html");
    write(dir.path(), &out, ReportContext::default()).unwrap();
    let page = fs::read_to_string(&out).unwrap();
    assert!(page.contains("No run is recorded.") && page.contains("Nothing was refused"));

    let good = || picture("7", "best", (150.0, 90.0), 6.0);
    let damaged = [
        CasePicture { rows: usize::MAX, columns: 2, ..good() },
        CasePicture { pixels: vec![0; 3], ..good() },
        CasePicture { spacing_h_mm: f64::NAN, ..good() },
        CasePicture { truth: Some(RunLength(vec![81_919, 2])), ..good() },
        CasePicture { heats: vec![HeatMap { name: "entropy".into(), shares: vec![0; 3] }], ..good() },
    ];
    for case in damaged {
        let context = ReportContext { cases: vec![case], ..ReportContext::default() };
        let refused = write(dir.path(), &out, context).unwrap_err();
        assert!(matches!(&refused, ReportError::Picture { case, .. } if case == "7"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&out).unwrap(), page, "what was there stays");
}
