//! One case's mask as a file for other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tomoflow_connectors::dicom::deidentify::Deidentify;
use tomoflow_connectors::dicom::write::Study;
use tomoflow_connectors::dicom_seg::{self, Algorithm, Encoding, SegmentText, SegmentationHeader, Source};
use tomoflow_connectors::rtstruct::write::{Contour, StructureSetHeader, contours, write_structures_as};
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::{Digest, Geometry, Intensity, LabelMap, Reject, Volume, metaimage, nifti, nrrd};

use super::identity::Identity;
use crate::engine::rows::JOINED;
use crate::executor::Context;
use crate::executor::artifact::MaskArtifact;
use crate::executor::work::{BoundCase, ScanForm, SeriesRow, SliceList, SliceRow};
use crate::operators::registry::Stage;
use crate::operators::sinks::files::{Coded, FileFormat, Files};
use crate::pipeline::Identifiers;

/// Who makes what is written.
const PROGRAM: &str = "tomoflow";

/// Writes masks of one stage into one folder.
pub(in crate::engine) struct MaskWriter<'a> {
    pub context: &'a Context,
    pub identity: &'a Identity,
    pub files: &'a Files,
    /// The stage whose masks they are.
    pub stage: String,
    /// Whether masks of other stages go to the same folder.
    pub several: bool,
    /// Whether DICOM is written without identity, in the place of one that names the patient.
    pub deidentify: bool,
}

impl MaskWriter<'_> {
    /// Writes one case, and names its files in the folder; every file takes its name only when it is whole.
    ///
    /// # Errors
    /// Why it cannot be written, by name.
    pub fn case(&self, series: &Arc<SeriesRow>, mask: Digest) -> Result<Vec<String>, Reject> {
        let folder = &self.files.path;
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        let found = self.context.found(mask)?;
        let names: Vec<(u16, String)> = (1..).zip(found.label_names.iter().cloned()).collect();
        let grid = Geometry::from(&series.grid);
        let written = self.names_of(series, if found.overlaps { Some(&found.label_names) } else { None });
        let mut paths = written.iter().map(|name| folder.join(name));
        if found.overlaps {
            self.overlapping(&mut paths, (series, mask), &found, &names)?;
        } else {
            let labels = found.on(&grid)?.labels;
            let drawn = Drawn { series, mask, labels: &labels, sets: None, names: &names };
            self.mask(paths.next().unwrap_or_default(), &drawn)?;
        }
        if let Some(path) = paths.next() {
            match self.context.short(series)? {
                Some(scan) => self.scan(path, &scan)?,
                None => {
                    let row = BoundCase::of(series.clone());
                    self.scan(path, &self.context.assembled(self.made_by()?, &row)?.scan)?;
                }
            }
        }
        Ok(written)
    }

    /// A mask in one file.
    fn mask(&self, path: PathBuf, drawn: &Drawn<'_>) -> Result<(), Reject> {
        let Drawn { labels, names, .. } = *drawn;
        match self.files.format {
            FileFormat::Nifti => whole(path, |path| nifti::write_labels(path, labels)),
            FileFormat::Nrrd => whole(path, |path| nrrd::write_labels(path, labels, names)),
            FileFormat::Metaimage => whole(path, |path| metaimage::write_labels(path, labels)),
            FileFormat::DicomSeg => self.segmentation(path, drawn, Encoding::Binary),
            FileFormat::DicomLabelmap => self.segmentation(path, drawn, Encoding::LabelMap),
            FileFormat::Rtstruct => self.outlines(path, drawn),
        }
    }

    /// Labels that may overlap: of formats with one value a voxel a file for each, as 1; of the others one with all.
    fn overlapping(
        &self,
        paths: &mut impl Iterator<Item = PathBuf>,
        (series, mask): (&SeriesRow, Digest),
        found: &MaskArtifact,
        names: &[(u16, String)],
    ) -> Result<(), Reject> {
        let grid = Geometry::from(&series.grid);
        if !a_file_each(self.files.format) {
            let (values, sets) = found.sets(&grid)?;
            let drawn = Drawn { series, mask, labels: &values, sets: Some(&sets), names };
            return self.mask(paths.next().unwrap_or_default(), &drawn);
        }
        for ((_, name), path) in names.iter().zip(paths) {
            let Some(layer) = found.layer(name, &grid)? else { continue };
            let own: Vec<u16> = layer.labels.voxels().iter().map(|label| u16::from(*label != 0)).collect();
            let own = LabelMap::new(grid.clone(), own)
                .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
            let one = [(1, name.clone())];
            self.mask(path, &Drawn { series, mask, labels: &own, sets: None, names: &one })?;
        }
        Ok(())
    }

    /// The place in the plan of the stage whose masks they are.
    fn made_by(&self) -> Result<usize, Reject> {
        let place = self.context.plan.stages.iter().position(|stage| stage.name == self.stage);
        place.ok_or_else(|| Reject::new("NO_STAGE", "a stage of the pipeline expected", "run it again"))
    }

    fn scan<T: Intensity>(&self, path: PathBuf, scan: &Volume<T>) -> Result<(), Reject> {
        match self.files.format {
            FileFormat::Nrrd => whole(path, |path| nrrd::write_scan(path, scan)),
            FileFormat::Metaimage => whole(path, |path| metaimage::write_scan(path, scan)),
            _ => whole(path, |path| nifti::write_scan(path, scan)),
        }
    }

    /// The files of a case, in the folder: its mask, one for each label where these may overlap, and perhaps its scan.
    pub fn names(&self, series: &SeriesRow, mask: Digest) -> Vec<String> {
        let overlaps = self.may_overlap().then(|| self.context.found(mask).ok()).flatten();
        let labels = overlaps.filter(|found| found.overlaps).map(|found| found.label_names);
        self.names_of(series, labels.as_deref())
    }

    /// Whether any model or source of the pipeline may give labels that overlap.
    fn may_overlap(&self) -> bool {
        self.context.plan.stages.iter().any(|stage| match &stage.stage {
            Stage::Train(train) => train.network().is_some_and(|settings| settings.activation.overlaps()),
            Stage::Infer(infer) => !infer.model.files().is_empty(),
            Stage::Labels(labels) => !labels.sets().is_empty(),
            _ => false,
        })
    }

    fn names_of(&self, series: &SeriesRow, overlapping: Option<&[String]>) -> Vec<String> {
        let case = file_name(&self.identity.show(&series.key));
        let case = if self.several { format!("{case}.{}", self.stage) } else { case };
        let (mask, scan) = match self.files.format {
            FileFormat::Nifti => ("nii.gz", "scan.nii.gz"),
            FileFormat::Nrrd => ("seg.nrrd", "scan.nrrd"),
            FileFormat::Metaimage => ("mha", "scan.mha"),
            FileFormat::DicomSeg | FileFormat::DicomLabelmap | FileFormat::Rtstruct => ("dcm", ""),
        };
        let scan = (self.files.scans && !scan.is_empty()).then_some(scan);
        // The mask of a case `x.scan` would have the name of the scan beside the mask of `x`.
        let case = match scan.is_some() && case.ends_with(".scan") {
            true => format!("{case}_{}", Digest::of(case.as_bytes()).short()),
            false => case,
        };
        let masks: Vec<String> = match overlapping.filter(|_| a_file_each(self.files.format)) {
            Some(labels) => {
                let label = |(number, name): (usize, &String)| {
                    let plain = file_name(name);
                    // A scan beside the masks has this name.
                    let twice =
                        plain == "scan" || labels[..number].iter().any(|other| file_name(other) == plain);
                    if twice { format!("{plain}_{}.{mask}", number + 1) } else { format!("{plain}.{mask}") }
                };
                labels.iter().enumerate().map(label).collect()
            }
            None => vec![mask.to_owned()],
        };
        let endings = masks.into_iter().chain(scan.map(str::to_owned));
        endings.map(|ending| format!("{case}.{ending}")).collect()
    }

    /// The scan that a DICOM object refers to, as its own files have it.
    fn origin(&self, series: &SeriesRow) -> Result<Origin, Reject> {
        if self.context.plan.settings.identifiers != Identifiers::Clear && !self.deidentify {
            let message = "a DICOM file names the patient, and this pipeline's identifiers are pseudonymous";
            let hint = "export it with `--deidentify`, take another format, or set `identifiers = \"clear\"`";
            return Err(Reject::new("IDENTIFIERS", message, hint));
        }
        if series.form != ScanForm::Instances {
            let message = "a scan of DICOM instances to refer to expected, another format found";
            return Err(Reject::new("NOT_DICOM", message, "export another format"));
        }
        if series.notes.iter().any(|note| note.starts_with(JOINED)) {
            let message =
                "a scan of one series to refer to expected, one whose slices have a series each found";
            let hint = "a DICOM object names a series that is there: export another format";
            return Err(Reject::new(JOINED, message, hint));
        }
        let list = self.context.lookup()?.slices(series.list)?;
        let records: Vec<Digest> = list.slices.iter().map(|slice| slice.record).collect();
        let files = self.context.lookup()?.places(series.series_uid(), &records)?;
        let Some(first) = files.first() else {
            return Err(Reject::new("FILE_VANISHED", "a scan without files", "run the pipeline again"));
        };
        let (study, sop_class) = dicom_seg::study_of(&first.path)?;
        let (date, time) = now();
        Ok(Origin { study, sop_class, list, date, time })
    }

    fn segmentation(&self, path: PathBuf, drawn: &Drawn<'_>, encoding: Encoding) -> Result<(), Reject> {
        let Drawn { series, mask, labels, sets, names } = *drawn;
        if sets.is_some() && encoding == Encoding::LabelMap {
            let message = "one label a voxel expected, labels that may overlap found";
            return Err(Reject::new(
                "OVERLAPPING_MASKS",
                message,
                "export `dicom-seg`, whose segments may overlap",
            ));
        }
        let Origin { study, sop_class, list, date, time } = self.origin(series)?;
        let multi = list.slices.iter().any(|slice| slice.frame > 0);
        let source = |slice: &SliceRow| Source {
            sop_instance_uid: slice.sop_uid.clone(),
            frame: multi.then_some(slice.frame + 1),
        };
        let software = env!("CARGO_PKG_VERSION").to_owned();
        let header = SegmentationHeader {
            study,
            series_uid: uid(b"series", series, mask),
            series_number: 900,
            series_description: format!("{} {}", self.context.plan.settings.name, self.stage),
            sop_instance_uid: uid(b"instance", series, mask),
            content_label: "SEGMENTATION".to_owned(),
            date,
            time,
            manufacturer: PROGRAM.to_owned(),
            model: PROGRAM.to_owned(),
            serial_number: "0".to_owned(),
            software: software.clone(),
            referenced_series_uid: series.series_uid().to_owned(),
            referenced_sop_class_uid: sop_class,
            sources: list.on_planes(labels.size()[0]).into_iter().map(|slice| slice.map(source)).collect(),
        };
        let algorithm = Algorithm::Automatic { name: self.stage.clone(), version: software };
        let segment = |(label, name): &(u16, String)| {
            let text = SegmentText::new(*label, name, algorithm.clone());
            match self.files.codes.get(name).cloned() {
                Some(Coded { category, property, region }) => {
                    SegmentText { category, property, region, ..text }
                }
                None => text,
            }
        };
        let segments: Vec<SegmentText> = names.iter().map(segment).collect();
        let patient = header.study.patient_id.clone();
        self.without_identity(&patient, |without| {
            whole(path, |path| match sets {
                Some(sets) => dicom_seg::write_overlapping(path, &header, (labels, sets), &segments, without),
                None => dicom_seg::write_as(path, &header, labels, &segments, encoding, without),
            })
        })
    }

    fn outlines(&self, path: PathBuf, drawn: &Drawn<'_>) -> Result<(), Reject> {
        let Drawn { series, mask, labels, sets, names } = *drawn;
        let Origin { study, sop_class, list, date, time } = self.origin(series)?;
        if list.slices.iter().any(|slice| slice.frame > 0) {
            let message = "contours name instances, and this scan's slices are frames of one";
            return Err(Reject::new("MULTI_FRAME", message, "export `dicom-seg`, which names frames"));
        }
        let uid_of = |slice: Option<&SliceRow>| slice.map_or_else(String::new, |slice| slice.sop_uid.clone());
        let instances: Vec<String> = list.on_planes(labels.size()[0]).into_iter().map(uid_of).collect();
        let outlined = |(label, name): &(u16, String)| -> Result<(String, Vec<Contour>), Reject> {
            let Some(sets) = sets else { return Ok((name.clone(), contours(labels, *label, &instances))) };
            let holds = |value: &u16| {
                let place = value.checked_sub(1).map(usize::from);
                place.and_then(|place| sets.get(place)).is_some_and(|set| set.contains(label))
            };
            let own = labels.voxels().iter().map(|value| u16::from(holds(value))).collect();
            let own = LabelMap::new(labels.geometry().clone(), own)
                .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
            Ok((name.clone(), contours(&own, 1, &instances)))
        };
        let structures = names.iter().map(outlined).collect::<Result<Vec<_>, _>>()?;
        let header = StructureSetHeader {
            study,
            series_uid: uid(b"outline series", series, mask),
            sop_instance_uid: uid(b"outlines", series, mask),
            // It has room for 16 letters.
            label: self.stage.chars().filter(char::is_ascii).take(16).collect(),
            date,
            time,
            manufacturer: PROGRAM.to_owned(),
            referenced_series_uid: series.series_uid().to_owned(),
            referenced_sop_class_uid: sop_class,
            referenced_instances: list.slices.into_iter().map(|slice| slice.sop_uid).collect(),
        };
        let patient = header.study.patient_id.clone();
        self.without_identity(&patient, |without| {
            whole(path, |path| write_structures_as(path, &header, &structures, without))
        })
    }

    /// Writes with what takes identity out, where that is asked for.
    fn without_identity<T>(&self, patient: &str, write: impl FnOnce(Option<&Deidentify<'_>>) -> T) -> T {
        if !self.deidentify {
            return write(None);
        }
        let uid = |uid: &str| self.identity.uid(uid);
        let by = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
        // A patient without a number is nobody in particular.
        let patient =
            if patient.is_empty() { "unknown".to_owned() } else { self.identity.hidden().show(patient) };
        write(Some(&Deidentify { patient, uid: &uid, by }))
    }
}

/// A mask, as a DICOM object is made from it.
struct Drawn<'a> {
    series: &'a SeriesRow,
    mask: Digest,
    labels: &'a LabelMap,
    /// The labels of each value from 1 on, where labels may overlap: those that such a voxel has.
    sets: Option<&'a [Vec<u16>]>,
    names: &'a [(u16, String)],
}

/// Whether a format has one value a voxel, so that labels that overlap have a file each.
pub(super) fn a_file_each(format: FileFormat) -> bool {
    matches!(format, FileFormat::Nifti | FileFormat::Nrrd | FileFormat::Metaimage)
}

/// What a DICOM object says of the scan that it refers to, and of itself.
struct Origin {
    study: Study,
    sop_class: String,
    list: SliceList,
    date: String,
    time: String,
}

/// A file under its name once it is whole.
pub(in crate::engine) fn whole<E: std::fmt::Display>(
    path: PathBuf,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), Reject> {
    // The ending stays: some writers go by it.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let staged = path.with_file_name(format!(".partial-{name}"));
    let written = write(&staged).map_err(|error| unwritten(&path, &error));
    let written = written.and_then(|()| fs::rename(&staged, &path).map_err(|error| unwritten(&path, &error)));
    if written.is_err() {
        // A part of a file is of no use to anybody.
        let _ = fs::remove_file(&staged);
    }
    written
}

fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Reject {
    let message = format!("{}: {error}", path.shown());
    Reject::new("UNWRITTEN", message, "free some space, or name another folder")
}

/// A case's identifier as a file's name: what a file declared must not choose where we write.
pub(in crate::engine) fn file_name(case: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !case.is_empty() && !case.starts_with('.') && case.len() <= 80 && case.chars().all(plain) {
        return case.to_owned();
    }
    let kept: String = case.chars().map(|c| if plain(c) { c } else { '_' }).take(40).collect();
    format!("{}_{}", kept.trim_start_matches('.'), Digest::of(case.as_bytes()).short())
}

/// A UID of its own for what is made from a mask: the same mask has the same one.
fn uid(what: &[u8], series: &SeriesRow, mask: Digest) -> String {
    let digest = Digest::of_parts([what, series.key.as_bytes(), &mask.0]);
    let mut number = [0; 16];
    number.copy_from_slice(&digest.0[..16]);
    format!("2.25.{}", u128::from_be_bytes(number))
}

/// Returns date and time as DICOM writes them.
fn now() -> (String, String) {
    let text = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let (date, time) = text.split_once('T').unwrap_or_default();
    (date.replace('-', ""), time.trim_end_matches('Z').replace(':', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_cannot_choose_where_it_is_written() {
        assert_eq!(file_name("1.2.840.3#1").split('_').next(), Some("1.2.840.3"));
        assert_eq!(file_name("1.2.840.3"), "1.2.840.3");
        for hostile in ["", "..", "../../etc/passwd", "a/b", "/root", ".hidden", "a\0b", "ä"] {
            let name = file_name(hostile);
            assert!(!name.contains(['/', '\0']) && !name.starts_with('.') && name.len() > 8, "{name}");
        }
        assert_ne!(file_name("a/b"), file_name("a_b"));
        assert_ne!(file_name("a/b"), file_name("a:b"));
    }

    #[test]
    fn dates_are_digits() {
        let (date, time) = now();
        assert_eq!((date.len(), time.len()), (8, 6));
        assert!((date + &time).bytes().all(|digit| digit.is_ascii_digit()));
    }
}
