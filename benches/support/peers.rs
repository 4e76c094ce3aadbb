//! Other people's tools beside ours: found when installed, timed in turns with us, compared in JSON.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

/// Turns that each tool takes at most; the fastest counts.
pub const TURNS: usize = 5;
/// Seconds after which a tool takes no further turn.
const ENOUGH: f64 = 20.0;

/// A tool, and what it has to beat.
pub struct Peer<'a> {
    pub name: String,
    /// One turn, in seconds; `None` when the tool is not there or fails.
    pub run: Box<dyn FnMut() -> Option<f64> + 'a>,
    /// How many times as fast we mean to be, where we said so.
    pub at_least: Option<f64>,
}

/// Times our work and that of every peer in turns; a line for each comparison, as it was told.
pub fn compare(work: &str, mut ours: impl FnMut() -> f64, peers: Vec<Peer<'_>>) -> Vec<Value> {
    let (mut best, mut found) = (f64::INFINITY, Vec::new());
    ours();
    for mut peer in peers {
        if (peer.run)().is_none() {
            println!("skipped: {} is not there", peer.name);
            continue;
        }
        let (mut fastest, began) = (f64::INFINITY, Instant::now());
        for turn in 0..TURNS {
            if turn > 0 && began.elapsed().as_secs_f64() > ENOUGH {
                break;
            }
            best = best.min(ours());
            fastest = fastest.min((peer.run)().unwrap_or(f64::INFINITY));
        }
        found.push((peer.name, fastest, peer.at_least));
    }
    if found.is_empty() {
        best = (0..TURNS).map(|_| ours()).fold(best, f64::min);
    }
    println!("{work}: {best:.4} s");
    let line = |(peer, seconds, at_least): (String, f64, Option<f64>)| {
        let ratio = seconds / best;
        let wanted = at_least.map_or(String::new(), |wanted| format!(", {wanted} wanted"));
        println!("  {peer}: {seconds:.4} s, {ratio:.1} times{wanted}");
        json!({ "work": work, "ours_s": best, "peer": peer, "peer_s": seconds, "ratio": ratio,
                "at_least": at_least })
    };
    found.into_iter().map(line).collect()
}

/// Adds the comparisons to the list in `target/bench.json`, in place of earlier ones of the same work and peer.
pub fn keep(lines: &[Value]) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    let known = std::fs::read(&path).unwrap_or_default();
    let mut all: Vec<Value> = serde_json::from_slice(&known).unwrap_or_default();
    let same = |a: &Value, b: &Value| (&a["work"], &a["peer"]) == (&b["work"], &b["peer"]);
    all.retain(|known| !lines.iter().any(|line| same(known, line)));
    all.extend(lines.iter().cloned());
    std::fs::write(&path, serde_json::to_vec_pretty(&all)?)?;
    println!("{}", path.display());
    Ok(())
}

/// The Python that `TOMOFLOW_PYTHON` names, or the one that `make setup` made.
pub fn interpreter() -> OsString {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    std::env::var_os("TOMOFLOW_PYTHON").unwrap_or_else(|| own.into())
}

/// Seconds that a Python script says its work took: imports and start are not counted.
pub fn python(script: &str, arguments: &[&str]) -> Option<f64> {
    let output = Command::new(interpreter()).arg("-c").arg(script).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
