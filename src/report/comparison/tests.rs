//! Systems beside each other, by figures of a few cases.

use super::*;

fn row(stage: &str, case: usize, metric: &str, value: Option<f64>) -> MetricRow {
    MetricRow {
        stage: stage.into(),
        case: format!("case {case}"),
        metric: metric.into(),
        unit: "1".into(),
        label: "tumour".into(),
        split: if case < 8 { "test" } else { "train" }.into(),
        value,
        ..MetricRow::default()
    }
}

fn rows() -> Vec<MetricRow> {
    let mut rows = Vec::new();
    for case in 0..10 {
        let figure = 0.5 + case as f64 / 32.0;
        rows.push(row("plain", case, "dice", Some(figure)));
        rows.push(row("better 1", case, "dice", Some(figure + 0.25)));
        rows.push(row("better 2", case, "dice", (case != 3).then_some(figure)));
        rows.push(row("plain", case, "assd", Some(1.0)));
    }
    rows
}

fn question(against: Option<&str>) -> Question {
    let system = |name: &str, stages: &[&str]| System {
        name: name.to_owned(),
        stages: stages.iter().map(|&stage| stage.to_owned()).collect(),
    };
    Question {
        systems: vec![system("plain", &["plain"]), system("better", &["better 1", "better 2"])],
        against: against.map(str::to_owned),
        split: "test".to_owned(),
    }
}

#[test]
fn cases_are_paired_and_seeds_averaged() {
    let found = Comparison::of(&rows(), &question(None)).unwrap();
    let metrics: Vec<&str> = found.figures.iter().map(|figure| figure.metric.as_str()).collect();
    assert_eq!(metrics, ["dice", "assd"]);
    let [plain, better] = &found.figures[0].systems[..] else { panic!("two systems") };
    assert_eq!((plain.cases, plain.mean, plain.paired.clone()), (8, Some(0.609375), None));
    // A case without a figure from one of the stages is none of the system's.
    assert_eq!((better.cases, better.stages["better 1"]), (7, 0.859375));
    let paired = better.paired.as_ref().unwrap();
    assert_eq!((paired.cases, paired.difference, paired.interval), (7, 0.125, [0.125; 2]));
    assert_eq!((paired.p, paired.p_holm), (2.0 / 128.0, 2.0 / 128.0));
    // No case has a surface distance from the other system.
    let other = &found.figures[1].systems[1];
    assert_eq!((other.cases, other.mean, other.paired.clone()), (0, None, None));
    assert_eq!((other.of, other.without.get(NO_ROW)), (8, Some(&8)));
    assert_eq!((better.of, better.without.len(), better.without.get("")), (8, 1, Some(&1)));
}

/// Scans of one name are not paired with each other.
#[test]
fn a_case_with_several_rows_is_in_no_mean() {
    let mut rows = rows();
    rows.push(row("plain", 2, "dice", Some(0.0)));
    let found = Comparison::of(&rows, &question(None)).unwrap();
    let plain = found.figures[0].systems.iter().find(|system| system.system == "plain").unwrap();
    assert_eq!((plain.cases, plain.without.get(SEVERAL)), (7, Some(&1)));
}

/// A system that misses half of all structures has no distances of these: its mean is that of the others.
#[test]
fn what_was_missed_is_counted() {
    let of = |stage: &str, case: usize, value: Option<f64>, state: &str| MetricRow {
        state: state.into(),
        ..row(stage, case, "assd", value)
    };
    let mut rows = Vec::new();
    for case in 0..8 {
        let missed = case < 3;
        rows.push(of("shy", case, (!missed).then_some(0.0), if missed { "empty_prediction" } else { "ok" }));
        rows.push(of("bold", case, Some(0.5), "ok"));
    }
    rows.push(of("bold", 8, Some(0.5), "ok"));
    rows.push(of("bold", 9, Some(f64::INFINITY), "ok"));
    let found = Comparison::of(&rows, &Question::default()).unwrap();
    let [bold, shy] = &found.figures[0].systems[..] else { panic!("two systems") };
    assert_eq!((bold.cases, bold.of, bold.without.get("not finite")), (9, 10, Some(&1)));
    assert_eq!((shy.cases, shy.of), (5, 10));
    let without = [("empty_prediction", 3), (NO_ROW, 2)].map(|(why, n)| (why.to_owned(), n));
    assert_eq!(shy.without, BTreeMap::from(without));
    assert_eq!(shy.paired.as_ref().unwrap().cases, 5);
    for shown in [found.to_string(), found.section()] {
        assert!(shown.contains("5 of 10") && shown.contains("3 empty prediction, 2 no row"), "{shown}");
    }
    // Nobody found it anywhere: that, too, is a line.
    let none = Comparison::of(&[of("shy", 0, None, "empty_prediction")], &Question::default()).unwrap();
    assert!(none.to_string().contains("0 of 1"), "{none}");
}

#[test]
fn stages_stand_alone_when_no_system_is_named() {
    let question = Question { split: "test".to_owned(), ..Question::default() };
    let found = Comparison::of(&rows(), &question).unwrap();
    let names: Vec<&str> = found.figures[0].systems.iter().map(|one| one.system.as_str()).collect();
    assert_eq!(names, ["better 1", "better 2", "plain"]);
    let holm: Vec<_> =
        found.figures[0].systems.iter().filter_map(|one| Some(one.paired.as_ref()?.p_holm)).collect();
    assert_eq!(holm, [2.0 / 128.0, 2.0 * 2.0 / 256.0]);
}

#[test]
fn what_has_no_figures_is_named() {
    let error = |question: &Question| Comparison::of(&rows(), question).unwrap_err().to_string();
    let mut unknown = question(None);
    unknown.systems[0].stages.push("worse".to_owned());
    assert!(error(&unknown).contains("`worse`"), "{}", error(&unknown));
    assert!(error(&question(Some("worst"))).contains("plain, better"));
    let nowhere = Question { split: "validation".to_owned(), ..Question::default() };
    assert!(error(&nowhere).contains("`validation`"));
    assert!(Comparison::of(&[], &Question::default()).is_err());
}

#[test]
fn text_and_page_name_all() {
    let found = Comparison::of(&rows(), &question(Some("plain"))).unwrap();
    let text = found.to_string();
    assert!(text.contains("dice, tumour") && text.contains("+0.125"), "{text}");
    assert!(text.contains("better") && text.contains("0.016"), "{text}");
    let section = found.section();
    assert!(section.contains("<td>better</td>") && section.contains("+0.125"), "{section}");
}
