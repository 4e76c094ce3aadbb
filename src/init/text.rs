//! The pipeline file's text: stages in the order of their work, each with its reasons.

use std::fmt::Write;
use std::path::Path;

use super::archive::{Archive, Block};
use super::grids::{self, Grids};
use super::{Draft, Wishes, intensity, toml, training};

/// Columns of a comment.
const WIDTH: usize = 100;
/// Labels of which surfaces are compared as well; of more that takes long.
const SURFACES: usize = 12;

/// Writes the pipeline of an archive.
pub fn write(archive: Archive, wishes: &Wishes) -> Draft {
    let grids = grids::of(&archive, wishes.gigabytes);
    let files: Vec<&Path> = archive.scans.iter().filter_map(|scan| scan.file.as_deref()).collect();
    let (_, border) = intensity::looked_at(&files);
    let mut blocks = archive.blocks.clone();
    blocks.extend(grids.blocks.iter().cloned());
    let learns = archive.learns() && grids.planned.is_some();
    let mut told = archive.told.clone();
    if learns {
        blocks.extend(learning(&archive, &grids, wishes, border));
        if archive.labelled() < 3 {
            told.push(format!(
                "{} labelled cases are too few to train, choose the best epoch and test on",
                archive.labelled()
            ));
        }
    } else {
        told.push(
            "no labels were found, so that nothing is trained: voxels above a threshold stand in for a mask"
                .to_owned(),
        );
        blocks.extend(looking(&archive, &grids, wishes, border));
    }
    let found = found(&archive, &grids);
    let mut text = String::new();
    comment(&mut text, &format!("{}: {}.", wishes.name, archive.layout));
    for line in &found {
        comment(&mut text, line);
    }
    text.push_str("#\n");
    comment(
        &mut text,
        "Written by `tomoflow init`, and yours to change: each setting says why it is as it is.",
    );
    if !told.is_empty() {
        text.push_str("#\n# Left out, guessed or not found:\n");
        for line in &told {
            item(&mut text, line);
        }
    }
    text.push('\n');
    put(&mut text, &heading(wishes));
    for block in &blocks {
        text.push('\n');
        put(&mut text, block);
    }
    let found = std::iter::once(archive.layout).chain(found).collect();
    Draft { text, found, told }
}

/// Writes what there is, in lines.
fn found(archive: &Archive, grids: &Grids) -> Vec<String> {
    let scans = archive.scans.len();
    let modality = if archive.modality.is_empty() { String::new() } else { format!(" {}", archive.modality) };
    let channels = match archive.channels.as_slice() {
        [] => String::new(),
        channels => format!(" of the channels {}", channels.join(", ")),
    };
    let labels = match archive.labels.len() {
        0 => String::new(),
        count if count > 8 => format!(", {} of them with labels: {count} structures", archive.labelled()),
        _ => format!(", {} of them with labels: {}", archive.labelled(), archive.labels.join(", ")),
    };
    let mut lines =
        vec![format!("{scans}{modality} scan{}{channels}{labels}", if scans == 1 { "" } else { "s" })];
    if grids.planned.is_some() {
        let lengths = grids.spacing_mm.map(toml::number).join("×");
        lines.push(format!("at {lengths} mm: {}", grids.fingerprint));
    }
    lines
}

fn heading(wishes: &Wishes) -> Block {
    Block {
        heading: "pipeline".to_owned(),
        fields: vec![
            ("name".to_owned(), toml::text(&wishes.name)),
            ("out".to_owned(), toml::path(&wishes.out)),
        ],
        after: vec![
            "Tables and files show pseudonyms; this shows names as they are: identifiers = \"clear\""
                .to_owned(),
        ],
        ..Block::default()
    }
}

/// Writes the blocks from cases to figures of what was learned.
fn learning(archive: &Archive, grids: &Grids, wishes: &Wishes, border: Option<f64>) -> Vec<Block> {
    let mut blocks = vec![intensity::operator(archive, &grids.stage, border)];
    blocks.extend(training::blocks(archive, grids, wishes, "normal"));
    blocks.push(
        Block::new("operators.segment", "infer")
            .with("inputs", toml::list([toml::text("normal")]))
            .with("model", toml::text("net"))
            .after("mirrored inputs as well, eight times the work: flips = [\"d\", \"h\", \"w\"]"),
    );
    let metrics: &[&str] =
        if archive.labels.len() > SURFACES { &["dice"] } else { &["dice", "hd95", "assd"] };
    blocks.push(
        Block::new("operators.scores", "evaluate")
            .why("Masks are compared on the grid of the scan itself, whatever the network saw.")
            .with("inputs", toml::list(["segment", archive.cases.as_str()].map(toml::text)))
            .with("metrics", toml::list(metrics.iter().map(|name| toml::text(name)))),
    );
    blocks.push(
        Block::new("sinks.results", "delta")
            .with("inputs", toml::list(["segment", "scores"].map(toml::text))),
    );
    blocks.push(masks(wishes, "segment", false));
    blocks
}

/// Writes the blocks for scans alone: what can be seen of them without a model.
fn looking(archive: &Archive, grids: &Grids, wishes: &Wishes, border: Option<f64>) -> Vec<Block> {
    let ct = archive.modality == "CT" && archive.channels.is_empty();
    let mut blocks = Vec::new();
    let (input, above) = if ct {
        (grids.stage.clone(), "-300")
    } else {
        blocks.push(intensity::operator(archive, &grids.stage, border));
        ("normal".to_owned(), "0.0")
    };
    let why = match ct {
        true => "Voxels denser than -300 HU are no air: a mask of the body, to see a pipeline work.",
        false => "Voxels brighter than the mean: a mask to see a pipeline work.",
    };
    let mut stage = Block::new("operators.bright", "threshold")
        .why(why)
        .with("inputs", toml::list([toml::text(&input)]))
        .with("above", above);
    if let Some(channel) = archive.channels.first() {
        stage = stage.with("channel", toml::text(channel));
    }
    let stage = stage
        .after("with a model of yours: type = \"infer\", model = { safetensors = \"net.safetensors\" }, prepare = \"model\"");
    blocks.push(stage);
    blocks.push(Block::new("sinks.results", "delta").with("inputs", toml::list([toml::text("bright")])));
    blocks.push(masks(wishes, "bright", true));
    blocks
}

fn masks(wishes: &Wishes, stage: &str, scans: bool) -> Block {
    let block = Block::new("sinks.masks", "files")
        .why("Mask files for 3D Slicer, ITK-SNAP and others.")
        .with("inputs", toml::list([toml::text(stage)]))
        .with("path", toml::path(&format!("{}/masks", wishes.out)))
        .with("format", toml::text("nifti"));
    if scans { block.with("scans", "true") } else { block }
}

/// Puts a table down.
fn put(text: &mut String, block: &Block) {
    for reason in &block.why {
        comment(text, reason);
    }
    let _ = writeln!(text, "[{}]", block.heading);
    for (name, value) in &block.fields {
        let _ = writeln!(text, "{name} = {value}");
    }
    for remark in &block.after {
        comment(text, remark);
    }
}

fn comment(text: &mut String, line: &str) {
    wrapped(text, line, "# ", "# ");
}

fn item(text: &mut String, line: &str) {
    wrapped(text, line, "# - ", "#   ");
}

/// A text in lines that begin so. What comes from files ends no comment.
fn wrapped(text: &mut String, line: &str, first: &str, next: &str) {
    let clean: String = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mut row = first.to_owned();
    for word in clean.split_whitespace() {
        if row.chars().count() + word.chars().count() >= WIDTH && row.trim_end() != next.trim_end() {
            let _ = writeln!(text, "{}", row.trim_end());
            next.clone_into(&mut row);
        }
        row.push_str(word);
        row.push(' ');
    }
    let _ = writeln!(text, "{}", row.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_comments() {
        let mut text = String::new();
        comment(&mut text, &format!("a\n[pipeline]\r{}", " word".repeat(40)));
        item(&mut text, "one\u{2028}two");
        assert!(text.lines().all(|line| line.starts_with('#') && line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().count() >= 3);
    }
}
