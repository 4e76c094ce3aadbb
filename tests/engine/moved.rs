//! Sinks that were moved, or taken out of a pipeline: what they wrote stays where it is, and is told of.

use std::fs;

use tomoflow::engine::Summary;

use crate::support::Workplace;
use crate::support::text::Rewrite as _;

const SINK: &str =
    "\n[sinks.files]\ntype = \"files\"\ninputs = [\"largest\"]\npath = \"masks\"\nformat = \"nifti\"\n";

/// The lines that tell of folders that no sink names.
fn left(summary: &Summary) -> Vec<&String> {
    summary.told.iter().filter(|line| line.contains("no sink names the folder any more")).collect()
}

fn masks(place: &Workplace, folder: &str) -> usize {
    let entries = fs::read_dir(place.path().join(folder)).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".nii.gz")).count()
}

#[test]
fn masks_in_a_folder_that_no_sink_names_any_more_are_told_and_stay() {
    let mut place = Workplace::new(2);
    place.text += SINK;
    assert!(left(&place.run()).is_empty());
    assert_eq!(masks(&place, "masks"), 2);
    // Moved, and told of at every run.
    place.text = place.text.rewrite("path = \"masks\"", "path = \"elsewhere\"");
    for _ in 0..2 {
        let summary = place.run();
        let lines = left(&summary);
        assert!(lines.len() == 1 && lines[0].contains("masks still holds 2 files"), "{summary}");
        assert_eq!((masks(&place, "masks"), masks(&place, "elsewhere")), (2, 2));
    }
    // Somebody takes one file away, and then the note: what is left is nobody's.
    let mut names = fs::read_dir(place.path().join("masks")).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(names.find(|path| path.to_str().unwrap().ends_with(".nii.gz")).unwrap()).unwrap();
    let summary = place.run();
    assert!(left(&summary).iter().any(|line| line.contains("still holds 1 file that")), "{summary}");
    fs::remove_file(place.path().join("masks/.tomoflow.json")).unwrap();
    assert!(left(&place.run()).is_empty());
    // A sink that is taken out leaves its folder as well; one that comes back has it again.
    place.text = place.text.rewrite("path = \"elsewhere\"", "path = \"masks\"").rewrite(SINK, "");
    let summary = place.run();
    assert!(left(&summary).iter().any(|line| line.contains("elsewhere still holds 2 files")), "{summary}");
    assert_eq!(masks(&place, "elsewhere"), 2);
    place.text += &SINK.rewrite("path = \"masks\"", "path = \"elsewhere\"");
    let summary = place.run();
    assert!(left(&summary).is_empty(), "{summary}");
    assert!(summary.folders_changed.is_empty(), "{summary}");
}
