//! What people look at beside the tables: the page of `report`, and TensorBoard's figures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::tensorboard::Sums;

use super::Verified;
use crate::engine::outputs::tables::PAGE;
use crate::engine::upkeep::page::{self, Page};
use crate::store::StoreError;

/// The folder of TensorBoard's files in `out`.
const BOARD: &str = "tensorboard";

/// Holds the page and event files against what was written, and gives what of `out` was looked at so.
pub(super) fn shown(out: &Path, verified: &mut Verified) -> Result<Vec<PathBuf>, StoreError> {
    let mut looked_at = vec![out.join(BOARD)];
    match page::since(out) {
        Page::Unknown => {}
        Page::Same => {
            verified.shown += usize::from(out.join(PAGE).is_file());
            looked_at.push(out.join(PAGE));
        }
        Page::Other => {
            looked_at.push(out.join(PAGE));
            let why = "it is not what was written; `tomoflow report` writes it anew";
            verified.spoiled.push((out.join(PAGE), why.to_owned()));
            if verified.mended {
                page::set_aside(out).map_err(|source| StoreError::Io { path: out.join(PAGE), source })?;
            }
        }
    }
    let (figures, others) = board(&out.join(BOARD));
    let below =
        |path: &PathBuf| path.strip_prefix(out).unwrap_or(path).to_string_lossy().escape_debug().to_string();
    verified.unlooked.extend(others.iter().map(below));
    let read: Vec<(PathBuf, io::Result<Sums>)> =
        figures.into_par_iter().map(|path| (path.clone(), Sums::of(&path))).collect();
    for (path, sums) in read {
        match sums {
            Ok(sums) if sums.wrong() == 0 => verified.shown += 1,
            Ok(sums) => spoiled(path, &sums, verified)?,
            Err(error) => verified.spoiled.push((path, error.to_string())),
        }
    }
    Ok(looked_at)
}

/// Names an event file with records that are not what was written; with `mend` the others alone are left.
fn spoiled(path: PathBuf, sums: &Sums, verified: &mut Verified) -> Result<(), StoreError> {
    let wrong = sums.wrong();
    let why = format!("{wrong} of its {} bytes are no whole records, or behind one that is not", sums.size);
    verified.spoiled.push((path.clone(), why));
    if verified.mended {
        verified.lost.push(format!(
            "{}: figures for TensorBoard, {wrong} bytes; the table `training` has those of every training that has ended",
            path.shown()
        ));
        sums.mend(&path).map_err(|source| StoreError::Io { path, source })?;
    }
    Ok(())
}

/// Files of TensorBoard's form below a folder, and what else lies there; no link is followed.
fn board(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut figures, mut others, mut folders) = (Vec::new(), Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                others.push(folder);
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && Sums::are_in(&path) => figures.push(path),
                _ => others.push(path),
            }
        }
    }
    figures.sort();
    (figures, others)
}
