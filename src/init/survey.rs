//! What `inspect` finds below a folder, kept as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tomoflow_connectors::container::folder_of;
use tomoflow_connectors::dicom::inspect::{
    Finding, FoundImage, FoundOutlines, FoundVolume, InspectError, InspectEvent, InspectOptions, Refused,
    Total, inspect,
};
use tomoflow_connectors::shown::Shown as _;

use super::described::Described;
use super::{InitError, below};

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// The folder.
    pub root: PathBuf,
    /// DICOM stacks that a pipeline gets.
    pub volumes: Vec<FoundVolume>,
    /// Files of outlines or segments.
    pub outlines: Vec<FoundOutlines>,
    /// Volumes of other formats, in the order of their paths.
    pub images: Vec<FoundImage>,
    /// What is refused.
    pub refused: Vec<Refused>,
    /// The counts of all of it.
    pub total: Total,
}

impl Survey {
    /// Looks through a folder; `tell` hears of progress.
    ///
    /// # Errors
    /// As [`inspect`].
    pub fn of(path: &Path, tell: &mut dyn FnMut(&InspectEvent)) -> Result<Self, InspectError> {
        let mut survey = Self { root: folder_of(path).to_owned(), ..Self::default() };
        let total = inspect(&[path.to_owned()], InspectOptions::default(), &mut |event| {
            tell(&event);
            match event {
                InspectEvent::Found(Finding::Volume(volume)) => survey.volumes.push(*volume),
                InspectEvent::Found(Finding::Outlines(outlines)) => survey.outlines.push(outlines),
                InspectEvent::Found(Finding::Image(image)) => survey.images.push(*image),
                InspectEvent::Found(Finding::Reject(refused)) => survey.refused.push(refused),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        survey.total = total.unwrap_or_default();
        Ok(survey)
    }

    /// Counts the label files whose scan is there.
    pub fn pairs(&self) -> usize {
        let paired = |image: &&FoundImage| image.labels_of.as_ref().is_some_and(|of| !of.is_empty());
        self.images.iter().filter(paired).count()
    }

    /// A path below the folder, as text.
    pub fn name(&self, path: &Path) -> String {
        below(path, &self.root).shown().to_string()
    }

    /// Refuses a folder of several data sets, each with a description of its own.
    pub fn is_one_set(&self) -> Result<(), InitError> {
        if self.root.join(super::described::NAME).is_file() {
            return Ok(());
        }
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let described = |path: &PathBuf| path.join(super::described::NAME).is_file();
        let mut names: Vec<String> = entries
            .map(|entry| entry.path())
            .filter(described)
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        names.sort();
        if names.is_empty() {
            return Ok(());
        }
        Err(InitError::SeveralSets { path: self.root.clone(), names })
    }

    /// Scans whose files hold several volumes each, where there are no others.
    pub fn several_channels(&self, described: Option<&Described>) -> Option<InitError> {
        let several: Vec<&Refused> =
            self.refused.iter().filter(|refused| refused.reject.code == "SEVERAL_VOLUMES").collect();
        let first = several.first()?;
        let whole: BTreeSet<&Path> = self.images.iter().map(|image| image.file.as_path()).collect();
        let labels = self.images.iter().filter_map(|image| image.labels_of.as_ref());
        let scans: BTreeSet<&Path> = labels.flatten().map(PathBuf::as_path).collect();
        let unlabelled = self.images.iter().any(|image| image.labels_of.is_none());
        let usable =
            if scans.is_empty() { unlabelled } else { scans.iter().any(|scan| whole.contains(scan)) };
        if usable || !self.volumes.is_empty() {
            return None;
        }
        let channels =
            described.map(|described| described.channels.as_slice()).filter(|channels| !channels.is_empty());
        let named = channels.map_or_else(String::new, |channels| format!(" ({})", channels.join(", ")));
        Some(InitError::SeveralChannels {
            files: several.len(),
            first: first.files.first().map(|file| self.name(file)).unwrap_or_default(),
            message: first.reject.message.clone(),
            hint: format!(
                "a pipeline reads one channel{named}: split the files, one volume each, as in nnU-Net's \
                 `CASE_0000.nii.gz`, and say which is meant; none is taken without a word"
            ),
        })
    }

    /// Returns the error that there is nothing to make a pipeline of, and what there is.
    pub fn nothing(&self) -> InitError {
        let counted = |(code, count): (&String, &usize)| format!("{count} {code}");
        let all = self.total.rejects.iter().chain(&self.total.skipped);
        let found: Vec<String> = all.map(counted).collect();
        let found = if found.is_empty() {
            String::new()
        } else {
            format!("; refused or skipped: {}", found.join(", "))
        };
        let hint = format!("`tomoflow inspect {}` says what each file is", self.root.display());
        InitError::NoScan { path: self.root.clone(), found, hint }
    }

    /// Returns the error that no pattern tells scans from all else.
    pub fn unclaimed(&self) -> InitError {
        let found =
            format!("; {} volumes are there, and no pattern of names fits scans alone", self.images.len());
        let hint = "keep scans and labels in folders of their own, `imagesTr` and `labelsTr`, or write the sources by hand";
        InitError::NoScan { path: self.root.clone(), found, hint: hint.to_owned() }
    }

    /// Lines on what is refused, by code with the first file.
    pub fn refusals(&self) -> Vec<String> {
        let mut by_code: BTreeMap<&str, Vec<&Refused>> = BTreeMap::new();
        for refused in &self.refused {
            by_code.entry(&refused.reject.code).or_default().push(refused);
        }
        let line = |(code, refused): (&str, Vec<&Refused>)| {
            let first = refused.first()?;
            let file = first.files.first().map(|file| self.name(file)).unwrap_or_default();
            Some(format!("{} refused as {code}: {} ({file})", refused.len(), first.reject.message))
        };
        by_code.into_iter().filter_map(line).collect()
    }
}
