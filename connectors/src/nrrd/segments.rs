//! The names of labels in a `.seg.nrrd`, as 3D Slicer keeps them.

use std::path::Path;

use super::header::Header;
use super::read_header;
use crate::{LabelMap, Reject};

/// The labels of a `.seg.nrrd` with their names, in the file's order; empty for a file without.
///
/// # Errors
/// A [`Reject`] when the file has no header that can be read.
pub fn read_names(path: &Path) -> Result<Vec<(u16, String)>, Reject> {
    Ok(names(&read_header(path)?.0))
}

fn names(header: &Header) -> Vec<(u16, String)> {
    let name = |index: usize| {
        let name = header.pairs.get(&format!("Segment{index}_Name"))?;
        let label = header.pairs.get(&format!("Segment{index}_LabelValue"))?.trim().parse().ok()?;
        Some((label, unescaped(name)))
    };
    (0..usize::from(u16::MAX)).map_while(name).collect()
}

/// The header lines that name labels.
pub(super) fn lines(labels: &LabelMap, names: &[(u16, String)]) -> String {
    let mut text = String::new();
    for (index, (label, name)) in names.iter().enumerate() {
        let extent = extent(labels, *label).map(|bound| bound.to_string()).join(" ");
        let [red, green, blue] = colour(index);
        text.push_str(&format!(
            "Segment{index}_ID:=Segment_{label}\nSegment{index}_Name:={}\nSegment{index}_LabelValue:={label}\n\
             Segment{index}_Layer:=0\nSegment{index}_Extent:={extent}\n\
             Segment{index}_Color:={red} {green} {blue}\n",
            escaped(name)
        ));
    }
    if !names.is_empty() {
        text.push_str("Segmentation_ContainedRepresentationNames:=Binary labelmap|\n");
        text.push_str("Segmentation_MasterRepresentation:=Binary labelmap\n");
        text.push_str("Segmentation_ReferenceImageExtentOffset:=0 0 0\n");
    }
    text
}

/// The first and last voxel of a label along i, j and k; Slicer's empty box when there is none.
fn extent(labels: &LabelMap, label: u16) -> [i64; 6] {
    let [depth, height, width] = labels.size();
    let (mut low, mut high) = ([i64::MAX; 3], [-1i64; 3]);
    for k in 0..depth {
        for (j, row) in labels.slice(k).chunks_exact(width.max(1)).enumerate().take(height) {
            let (Some(first), Some(last)) =
                (row.iter().position(|&found| found == label), row.iter().rposition(|&found| found == label))
            else {
                continue;
            };
            let ends = [[first, last], [j, j], [k, k]];
            for (axis, [from, to]) in ends.into_iter().enumerate() {
                low[axis] = low[axis].min(from as i64);
                high[axis] = high[axis].max(to as i64);
            }
        }
    }
    if high[0] < 0 {
        return [0, -1, 0, -1, 0, -1];
    }
    [low[0], high[0], low[1], high[1], low[2], high[2]]
}

/// Colours far apart from one another, as fractions of one.
fn colour(index: usize) -> [f64; 3] {
    const COLOURS: [[f64; 3]; 6] = [
        [0.9, 0.3, 0.2],
        [0.2, 0.7, 0.3],
        [0.2, 0.5, 0.9],
        [0.9, 0.8, 0.2],
        [0.7, 0.3, 0.8],
        [0.2, 0.8, 0.8],
    ];
    COLOURS[index % COLOURS.len()]
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', " ")
}

fn unescaped(name: &str) -> String {
    let mut text = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => text.extend(letters.next().map(|next| if next == 'n' { '\n' } else { next })),
            (letter, false) => text.push(letter),
        }
    }
    text
}
