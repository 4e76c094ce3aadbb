//! What the loop of training knows: an objective and its learners, and no architecture, whose names stand in
//! `objectives` alone.

use std::fs;
use std::path::{Path, PathBuf};

use super::floors::{sources, words};

/// Names of architectures and of what only some of them have; a name that begins with one of these is meant, too.
const ARCHITECTURES: [&str; 5] = ["architectures", "unet", "variant", "attention", "supervision"];

/// What a pipeline declares of them, which the settings hand on.
const DECLARED: [&str; 1] = ["attention_weight"];

/// The names of architectures in code.
fn named(code: &str) -> Vec<String> {
    let ours = |word: &String| {
        let lower = word.to_lowercase();
        ARCHITECTURES.iter().any(|name| lower.starts_with(name)) && !DECLARED.contains(&word.as_str())
    };
    words(code).into_iter().filter(ours).collect()
}

#[test]
fn training_and_losses_name_no_architecture() {
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/networks");
    let mut files: Vec<PathBuf> = ["train.rs", "losses.rs"].map(|name| networks.join(name)).to_vec();
    sources(&networks.join("train"), &mut files);
    sources(&networks.join("losses"), &mut files);
    for must in ["train/checkpoint.rs", "train/validate.rs", "train/step.rs", "losses/config.rs"] {
        assert!(files.contains(&networks.join(must)), "{must} is not there");
    }
    for file in files {
        let found = named(&fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{} names {found:?}: it belongs in an objective", file.display());
    }
    // Where they may stand, they are seen.
    let supervised = fs::read_to_string(networks.join("objectives/minimised.rs")).unwrap();
    assert!(named(&supervised).iter().any(|name| name == "Unet"));
}

#[test]
fn a_name_is_seen_however_it_is_written() {
    assert_eq!(named("use super::architectures::unet::Unet;"), ["architectures", "unet", "Unet"]);
    assert_eq!(named("let UnetConfig { variant, .. } = config; output.attention_scales()").len(), 3);
    let fine = r#"let TrainSettings { attention_weight, .. } = settings; // the Unet's
        let text = "attention_loss";"#;
    assert_eq!(named(fine), Vec::<String>::new());
}
