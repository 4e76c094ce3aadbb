//! A pipeline that watches its archive: what comes is worked on once it is quiet, and the tables end where a
//! run over the final archive ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};
use crossbeam_channel::{Receiver, unbounded};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::LabelMap;
use tomoflow::engine::{Options, Summary, watch};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{self, VsPhantom, Written};
use tomoflow::pipeline;

/// Nothing here takes so long, on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pipeline that is watching, until it is told to stop.
struct Watching {
    stop: Arc<AtomicBool>,
    settled: Receiver<Summary>,
    last: Option<Summary>,
    thread: JoinHandle<Summary>,
}

impl Watching {
    fn start(place: &Workplace) -> Self {
        let plan = pipeline::load(&place.pipeline(), &[], &Registry::builtin())
            .unwrap_or_else(|problems| panic!("{problems}"));
        let options = Options { threads: 2, accept_empty: true, ..Options::default() };
        let stop = options.stop.clone();
        let (sender, settled) = unbounded();
        let thread = std::thread::spawn(move || {
            watch(plan, &options, &mut |_| {}, &mut |summary| sender.send(summary.clone()).unwrap()).unwrap()
        });
        Self { stop, settled, last: None, thread }
    }

    /// Waits until the tables were brought to something that is as it must be.
    fn until(&mut self, what: &str, is: impl Fn(&Summary) -> bool) -> &Summary {
        let deadline = Instant::now() + PATIENCE;
        while !self.last.as_ref().is_some_and(&is) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.settled.recv_timeout(left) {
                Ok(summary) => self.last = Some(summary),
                Err(_) => panic!("{what}: not seen, last {:?}", self.last),
            }
        }
        self.last.as_ref().unwrap()
    }

    fn end(self) -> Summary {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn place(settle: &str, rescan: &str) -> Workplace {
    let mut place = Workplace::new(0);
    let settings = format!("out = \"out\"\nsettle = \"{settle}\"\nrescan = \"{rescan}\"");
    place.text = place.text.rewrite("out = \"out\"", &settings);
    place
}

/// Series that are written beside the archive, so that files can come to it as a test wants them to.
fn written(place: &Workplace, series: usize) -> Vec<Written> {
    let all = VsPhantom { series, ..place.phantom.clone() };
    vs::write_archive(&all, &place.path().join("all")).unwrap()
}

fn files(series: &Written) -> impl Iterator<Item = &PathBuf> {
    series.slices.iter().chain([&series.outlines])
}

fn here(place: &Workplace, file: &Path) -> PathBuf {
    place.archive().join(file.file_name().unwrap())
}

#[test]
fn what_comes_is_worked_on_once_it_is_quiet() {
    let place = place("2s", "1h");
    let all = written(&place, 3);
    let mut watching = Watching::start(&place);
    for file in files(&all[0]) {
        fs::copy(file, here(&place, file)).unwrap();
    }
    let first = watching.until("a series", |summary| summary.accepted == 1);
    assert_eq!((first.actions_run, first.rejected), (3, 0), "{first}");
    // Slice by slice, moved: their files carry the time when they were written, which is long ago.
    std::thread::sleep(Duration::from_secs(2));
    for file in files(&all[1]) {
        fs::rename(file, here(&place, file)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let scored = |summary: &Summary| summary.stages.get("scores").is_some_and(|count| count.run == 2);
    let second = watching.until("a second series", scored);
    assert_eq!((second.actions_run, second.rejects.len()), (6, 0), "worked on once, when whole: {second}");
    // A late slice.
    let late = &all[2].slices[3];
    for file in files(&all[2]).filter(|file| *file != late) {
        fs::copy(file, here(&place, file)).unwrap();
    }
    watching.until("a gap", |summary| summary.rejects.contains_key("MISSING_SLICE"));
    fs::copy(late, here(&place, late)).unwrap();
    let third = watching.until("the late slice", |summary| summary.accepted == 3 && summary.actions_run == 9);
    assert_eq!((third.actions_run, third.rejected), (9, 0), "{third}");
    // A deletion.
    files(&all[0]).for_each(|file| fs::remove_file(here(&place, file)).unwrap());
    let fourth = watching.until("a deletion", |summary| summary.accepted == 2);
    assert_eq!(fourth.actions_run, 9, "{fourth}");
    assert_eq!(place.tables(), place.anew());
    watching.end();
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_rescan_finds_what_nobody_told() {
    let place = place("100ms", "1s");
    let all = written(&place, 1);
    for file in files(&all[0]) {
        fs::copy(file, here(&place, file)).unwrap();
    }
    // A second name outside of the watched folder: what is written by it is told of nowhere.
    let hidden = place.path().join("hidden");
    fs::hard_link(here(&place, &all[0].outlines), &hidden).unwrap();
    let mut watching = Watching::start(&place);
    watching.until("a series", |summary| summary.accepted == 1 && summary.actions_run == 3);
    let moved = moved_label(&place, 0, 2);
    fs::write(&hidden, fs::read(moved).unwrap()).unwrap();
    watching.until("other outlines", |summary| summary.actions_run == 4);
    watching.end();
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn links_that_come_and_go_are_followed() {
    let place = place("100ms", "1h");
    let all = written(&place, 3);
    for file in files(&all[0]) {
        fs::copy(file, here(&place, file)).unwrap();
    }
    let link = |target: &Path, name: &Path| std::os::unix::fs::symlink(target, name).unwrap();
    // A loop that was there before.
    link(&place.archive(), &place.archive().join("loop"));
    let mut watching = Watching::start(&place);
    watching.until("a series", |summary| summary.accepted == 1 && summary.actions_run == 3);
    files(&all[1]).for_each(|file| link(file, &here(&place, file)));
    watching.until("a series of links", |summary| summary.accepted == 2 && summary.actions_run == 6);
    let site = place.path().join("site");
    fs::create_dir(&site).unwrap();
    for file in files(&all[2]) {
        fs::copy(file, site.join(file.file_name().unwrap())).unwrap();
    }
    link(&site, &place.archive().join("site"));
    watching.until("a linked folder", |summary| summary.accepted == 3 && summary.actions_run == 9);
    fs::remove_file(place.archive().join("site")).unwrap();
    watching.until("a folder without its link", |summary| summary.accepted == 2);
    files(&all[1]).for_each(|file| fs::remove_file(here(&place, file)).unwrap());
    watching.until("files without their links", |summary| summary.accepted == 1);
    watching.end();
    assert_eq!(place.tables(), place.anew());
}

#[test]
fn a_rescan_sees_behind_links() {
    let place = place("100ms", "1s");
    let all = written(&place, 2);
    let site = place.path().join("site");
    fs::create_dir(&site).unwrap();
    std::os::unix::fs::symlink(&site, place.archive().join("site")).unwrap();
    let copy = |series: &Written| {
        for file in files(series) {
            fs::copy(file, site.join(file.file_name().unwrap())).unwrap();
        }
    };
    copy(&all[0]);
    let mut watching = Watching::start(&place);
    watching.until("a series", |summary| summary.accepted == 1 && summary.actions_run == 3);
    copy(&all[1]);
    watching.until("another behind a link", |summary| summary.accepted == 2 && summary.actions_run == 6);
    watching.end();
    assert_eq!(place.tables(), place.anew());
}

/// Outlines of a series that somebody corrected, beside the archive.
fn moved_label(place: &Workplace, index: usize, columns: usize) -> PathBuf {
    let (_, truth) = vs::case(&place.phantom, index);
    let width = truth.size()[2];
    let moved = truth.voxels().chunks(width).flat_map(|row| {
        let mut row = row.to_vec();
        row.rotate_right(columns % width);
        row
    });
    let labels = LabelMap::new(truth.geometry().clone(), moved.collect()).unwrap();
    let folder = place.path().join("corrected");
    fs::create_dir_all(&folder).unwrap();
    vs::write_rtstruct(&place.phantom, index, &labels, &vs::STRUCTURES, &folder).unwrap()
}

/// One thing that happens during the day.
#[derive(Clone, Debug)]
enum Arrival {
    Copy { from: PathBuf, to: PathBuf },
    Delete(PathBuf),
}

/// What a series goes through: files that come or go within one stretch, and how many actions that makes
/// necessary. The next stretch begins when the one before has been worked on.
struct Stretch {
    arrivals: Vec<Arrival>,
    necessary: usize,
}

/// The day of one series, drawn at random.
fn day(place: &Workplace, series: &Written, rng: &mut ChaCha8Rng) -> Vec<Stretch> {
    let copy = |file: &Path| Arrival::Copy { from: file.to_owned(), to: here(place, file) };
    let mut first: Vec<Arrival> = files(series).map(|file| copy(file)).collect();
    if rng.random_bool(0.15) {
        // Twice the same slice, under two names.
        let from = series.slices[rng.random_range(0..series.slices.len())].clone();
        let to = here(place, &from).with_extension("again");
        first.push(Arrival::Copy { from, to });
    }
    // Mask, its largest component, and its figures.
    let mut stretches = vec![Stretch { arrivals: first, necessary: 3 }];
    let more = match rng.random_range(0..10) {
        0 => {
            // One from the middle comes late: what is there until then is no volume.
            let late = copy(&series.slices[1]);
            stretches[0].arrivals.retain(|arrival| !lands_like(arrival, &late));
            stretches[0].necessary = 0;
            Some((vec![late], 3))
        }
        1 => {
            let corrected = moved_label(place, series.index, 1 + rng.random_range(0..3));
            Some((vec![Arrival::Copy { to: here(place, &corrected), from: corrected }], 1))
        }
        2 => {
            let gone = stretches[0].arrivals.iter().map(|arrival| match arrival {
                Arrival::Copy { to, .. } | Arrival::Delete(to) => Arrival::Delete(to.clone()),
            });
            Some((gone.collect(), 0))
        }
        _ => None,
    };
    stretches.extend(more.map(|(arrivals, necessary)| Stretch { arrivals, necessary }));
    for stretch in &mut stretches {
        stretch.arrivals.shuffle(rng);
    }
    stretches
}

/// Whether the same slice comes, under whatever name.
fn lands_like(one: &Arrival, two: &Arrival) -> bool {
    matches!((one, two), (Arrival::Copy { from: a, .. }, Arrival::Copy { from: b, .. }) if a == b)
}

/// Interleaves what happens to many series: at any time a few of them are arriving.
fn interleaved(stretches: Vec<(usize, Stretch)>, rng: &mut ChaCha8Rng) -> Vec<(usize, Arrival)> {
    let mut waiting = stretches.into_iter();
    let mut arriving: Vec<(usize, Vec<Arrival>)> = Vec::new();
    let mut all = Vec::new();
    loop {
        while arriving.len() < 8
            && let Some((series, stretch)) = waiting.next()
        {
            arriving.push((series, stretch.arrivals));
        }
        if arriving.is_empty() {
            return all;
        }
        let at = rng.random_range(0..arriving.len());
        let (series, arrivals) = &mut arriving[at];
        all.extend(arrivals.pop().map(|arrival| (*series, arrival)));
        if arriving[at].1.is_empty() {
            arriving.swap_remove(at);
        }
    }
}

/// How long a series must be quiet.
const SETTLE: Duration = Duration::from_millis(400);

/// Lets all of it happen. A series that was kept waiting for so long that it may have seemed quiet in
/// between (the machine was busy) is counted: such a break allows its actions once more.
fn happen(arrivals: Vec<(usize, Arrival)>, report: bool) -> usize {
    let (mut last, mut breaks) = (BTreeMap::new(), 0);
    for (number, (series, arrival)) in arrivals.into_iter().enumerate() {
        let seen = last.insert(series, Instant::now());
        breaks += usize::from(seen.is_some_and(|seen| seen.elapsed() > SETTLE / 2));
        match arrival {
            Arrival::Copy { from, to } => {
                fs::copy(from, to).unwrap();
            }
            Arrival::Delete(path) => fs::remove_file(path).unwrap(),
        }
        if report && number % 500 == 0 {
            println!("{number} files: {} MiB", resident_mib());
        }
    }
    breaks
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[test]
fn a_day_of_arrivals_ends_where_a_run_from_nothing_does() {
    // More with TOMOFLOW_ARRIVALS; then memory is shown over time.
    let asked = std::env::var("TOMOFLOW_ARRIVALS").ok().and_then(|series| series.parse().ok());
    let series = asked.unwrap_or(200);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut place = place("400ms", "5s");
    place.phantom.size = [4, 16, 16];
    let all = written(&place, series);
    let days: Vec<Vec<Stretch>> = all.iter().map(|series| day(&place, series, &mut rng)).collect();
    let necessary: usize = days.iter().flatten().map(|stretch| stretch.necessary).sum();
    let deleted: BTreeSet<usize> = (0..series)
        .filter(|&at| {
            days[at].last().is_some_and(|stretch| matches!(stretch.arrivals[0], Arrival::Delete(_)))
        })
        .collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (number, day) in days.into_iter().enumerate() {
        let mut stretches = day.into_iter();
        first.extend(stretches.next().map(|stretch| (number, stretch)));
        second.extend(stretches.next().map(|stretch| (number, stretch)));
    }
    let mut watching = Watching::start(&place);
    let mut breaks = happen(interleaved(first, &mut rng), asked.is_some());
    let held = second.iter().filter(|(_, stretch)| stretch.necessary == 3).count();
    watching.until("everything that came", |summary| summary.accepted == series - held);
    second.shuffle(&mut rng);
    breaks += happen(interleaved(second, &mut rng), asked.is_some());
    let expected = place.anew();
    let deadline = Instant::now() + PATIENCE;
    while place.tables() != expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_same(&place.tables(), &expected, "at the end of the day");
    let resident = resident_mib();
    let last = watching.end();
    if asked.is_some() {
        println!("at the end: {resident} MiB; {last}");
    }
    assert_eq!((last.accepted, last.rejected), (series - deleted.len(), 0), "{last}");
    assert!(
        last.actions_run <= necessary + 3 * breaks,
        "{necessary} actions necessary, {breaks} breaks: {last}"
    );
    assert_same(&place.tables(), &expected, "after the end");
}
