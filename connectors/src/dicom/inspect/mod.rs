//! What an archive holds and what is wrong with it: the way from files to findings, by the code that a
//! pipeline's source uses.

mod called;
mod finding;
mod held;
mod images;
mod statistics;
#[cfg(test)]
mod tests;
mod torn;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Reject;
use crate::container::{self, folder_of};
use crate::imagefile::ImageHead;
use crate::reading;
use crate::shown::Shown as _;

use held::HeldSeries;
use images::Seen;

use super::header::instance::Instance;
use super::header::peek::HeaderReader;
use super::header::record::{Record, read_record};
use super::pixels::same_values;
use super::stack::assemble::Assembled;
use super::stack::{Rules, assemble_asking};
use super::walk::{Walk, WalkError};

pub use called::label_words;
pub use finding::{Finding, FoundImage, FoundOutlines, FoundVolume, Refused, Skipped, Total};
pub use statistics::{Statistics, statistics};

/// The number of files that are read before their records are put in order.
const FILES: usize = 1024;
/// The number of files in flight: a cold disk or a network answers many questions in the time of one.
const READERS: usize = 32;
/// The number of series that are judged at once.
const SERIES: usize = 64;

/// The options that say how closely an archive is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectOptions {
    /// Whether volumes are decoded: this gives their [`Statistics`], and what cannot be decoded is a reject.
    pub stats: bool,
}

/// The events that [`inspect`] tells of while it works.
#[derive(Clone, Debug, PartialEq)]
pub enum InspectEvent {
    /// So many files, of so many in all, have been read.
    Read {
        /// The number of files read.
        done: usize,
        /// The number of files in all.
        of: usize,
    },
    /// So many series, of so many in all, have been judged.
    Judged {
        /// The number of series judged.
        done: usize,
        /// The number of series in all.
        of: usize,
    },
    /// Something was found.
    Found(Finding),
}

/// An archive that cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A path is not there, or may not be read.
    #[error("{0}\nhint: check the path, or whether the archive is mounted")]
    Walk(#[from] WalkError),
    /// A record did not survive being packed.
    #[error(
        "a record kept in memory cannot be read back: {0}\nhint: this is a fault of tomoflow, please report it"
    )]
    Packed(#[from] postcard::Error),
    /// The system gave no threads.
    #[error("no threads to read with: {0}\nhint: the system allows this process too few of them")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Walks archives, reads every file's header once, and judges series by series. Pixels are read only where
/// one SOPInstanceUID stands in several files, when statistics are asked for, or where a NIfTI, MetaImage or NRRD has
/// few of them.
///
/// Files without images are told in the order of their paths while the archive is read, then volumes and
/// rejects in the order of SeriesInstanceUIDs, then those of other formats in the order of their paths, on any number
/// of threads. Records of a series are held from
/// when they are read (packed, a few hundred bytes each) until it is judged. `None` when `tell` broke off.
///
/// # Errors
/// [`InspectError`] when a root is not there; nothing was told then.
///
/// # Examples
/// ```
/// use std::ops::ControlFlow;
/// use tomoflow_connectors::dicom::inspect::{Finding, InspectEvent, InspectOptions, inspect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("notes.txt"), "no image")?;
/// let mut skipped = Vec::new();
/// let total = inspect(&[folder.path().to_owned()], InspectOptions::default(), &mut |event| {
///     if let InspectEvent::Found(Finding::Skip(file)) = event {
///         skipped.push(file.code);
///     }
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(skipped, ["NOT_DICOM"]);
/// assert_eq!(total.map(|total| total.files), Some(1));
/// # Ok(())
/// # }
/// ```
pub fn inspect(
    roots: &[PathBuf],
    options: InspectOptions,
    tell: &mut dyn FnMut(InspectEvent) -> ControlFlow<()>,
) -> Result<Option<Total>, InspectError> {
    let started = Instant::now();
    let readers = ThreadPoolBuilder::new().num_threads(READERS).build()?;
    let (series, images) = (BTreeMap::new(), Vec::new());
    let mut inspection = Inspection { options, tell, total: Total::default(), series, images, readers };
    let done = inspection.look(roots).and_then(|()| inspection.judge_all());
    let done = done.and_then(|()| inspection.judge_images());
    inspection.total.seconds = started.elapsed().as_secs_f64();
    match done {
        Ok(()) => Ok(Some(inspection.total)),
        Err(Stop::BrokenOff) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The reason why an inspection ended early.
enum Stop {
    BrokenOff,
    Failed(InspectError),
}

impl From<InspectError> for Stop {
    fn from(error: InspectError) -> Self {
        Self::Failed(error)
    }
}

struct Inspection<'t> {
    options: InspectOptions,
    tell: &'t mut dyn FnMut(InspectEvent) -> ControlFlow<()>,
    total: Total,
    series: BTreeMap<String, HeldSeries>,
    /// The volumes of other formats.
    images: Vec<(PathBuf, Result<ImageHead, Reject>)>,
    readers: ThreadPool,
}

/// The content that was read of a file, and its bytes.
enum Read {
    Record(Record, u64),
    Other(Seen, u64),
}

impl Inspection<'_> {
    /// Walks the roots and reads their files.
    fn look(&mut self, roots: &[PathBuf]) -> Result<(), Stop> {
        let (mut files, mut unseen) = (Vec::new(), Vec::new());
        let roots: Vec<PathBuf> = roots.iter().map(|root| folder_of(root).to_owned()).collect();
        for root in distinct_roots(&roots) {
            let mut walk = Walk::paths(root).map_err(InspectError::from)?;
            files.extend(&mut walk);
            self.total.passed_over.extend(walk.passed_over().lines(Some(root)));
            unseen.extend(walk.notes());
        }
        for place in unseen {
            tracing::warn!("{place}");
            self.skip(place.path, "UNREADABLE")?;
        }
        self.total.files = files.len();
        let (of, mut files) = (files.len(), files.into_iter());
        while files.len() > 0 {
            let batch: Vec<PathBuf> = files.by_ref().take(FILES).collect();
            let stats = self.options.stats;
            let read = |reader: &mut HeaderReader, file: &PathBuf| read(reader, file, stats);
            let read_all = || batch.par_iter().map_init(HeaderReader::default, read).collect();
            let records: Vec<std::io::Result<Read>> = self.readers.install(read_all);
            for (file, record) in batch.into_iter().zip(records) {
                let record = match record {
                    // A file that found no room beside others is read alone.
                    Err(error) if reading::is_busy(&error) => {
                        reading::alone(|| self::read(&mut HeaderReader::default(), &file, stats))
                    }
                    record => record,
                };
                self.take(file, record)?;
            }
            self.tell(InspectEvent::Read { done: of - files.len(), of })?;
        }
        self.total.series = self.series.len();
        Ok(())
    }

    fn take(&mut self, path: PathBuf, read: std::io::Result<Read>) -> Result<(), Stop> {
        let record = match read {
            Ok(Read::Record(record, bytes)) => {
                self.total.bytes += bytes;
                Ok(record)
            }
            Ok(Read::Other(seen, bytes)) => {
                self.total.bytes += bytes;
                if let Seen::Image(head) = seen {
                    self.images.push((path, head));
                }
                return Ok(());
            }
            Err(error) => Err(error),
        };
        match record {
            Ok(Record::Instance(instance)) => {
                self.total.instances += 1;
                let series = match self.series.get_mut(&instance.series_uid) {
                    Some(series) => series,
                    None => self.series.entry(instance.series_uid.clone()).or_default(),
                };
                Ok(series.push(path, &instance).map_err(InspectError::from)?)
            }
            Ok(Record::Outlines(outlines)) => self.found(Finding::Outlines(FoundOutlines {
                file: path,
                series: outlines.referenced_series,
                structures: outlines.structures,
            })),
            Ok(Record::Skip { code }) => self.skip(path, &code),
            Ok(Record::Image(_) | Record::Read { .. }) => self.skip(path, "NOT_DICOM"),
            Err(error) => {
                tracing::warn!("{}: {error}", path.shown());
                self.skip(path, "UNREADABLE")
            }
        }
    }

    /// Judges series by series, letting go of their records.
    fn judge_all(&mut self) -> Result<(), Stop> {
        let of = self.series.len();
        let torn = torn::Torn::among(&self.series).map_err(InspectError::from)?;
        while !self.series.is_empty() {
            // Decoding is parallel by slices: volumes side by side would only take more memory.
            let count = if self.options.stats { 1 } else { SERIES };
            let batch: Vec<_> = (0..count).map_while(|_| self.series.pop_first()).collect();
            let options = self.options;
            let findings: Vec<_> =
                batch.into_par_iter().map(|(series, held)| judge(&series, held, options)).collect();
            for mut finding in findings.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                torn.note(&mut finding);
                self.found(finding)?;
            }
            self.tell(InspectEvent::Judged { done: of - self.series.len(), of })?;
        }
        Ok(())
    }

    /// Judges volumes of other formats, which are known by their names.
    fn judge_images(&mut self) -> Result<(), Stop> {
        for finding in images::judge(std::mem::take(&mut self.images)) {
            self.found(finding)?;
        }
        Ok(())
    }

    fn skip(&mut self, file: PathBuf, code: &str) -> Result<(), Stop> {
        self.found(Finding::Skip(Skipped { file, code: code.to_owned() }))
    }

    fn found(&mut self, finding: Finding) -> Result<(), Stop> {
        self.total.count(&finding);
        self.tell(InspectEvent::Found(finding))
    }

    fn tell(&mut self, event: InspectEvent) -> Result<(), Stop> {
        match (self.tell)(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::BrokenOff),
        }
    }
}

/// Reads a header as a pipeline does: by its absolute path, which stands in for identifiers that are empty.
fn read(reader: &mut HeaderReader, file: &PathBuf, stats: bool) -> std::io::Result<Read> {
    let path = std::path::absolute(file)?;
    if let Some(seen) = images::see(&path, stats)? {
        // The size of a header includes that of its voxels.
        let bytes = match &seen {
            Seen::Image(_) => container::stat(&path)?.size,
            Seen::Voxels => 0,
        };
        return Ok(Read::Other(seen, bytes));
    }
    reader.read_sized(&path).map(|(record, bytes)| Read::Record(record, bytes))
}

/// Reads the pixels' digests where they matter: for instances that share a SOPInstanceUID.
fn complete(paths: &[PathBuf], instances: &mut [Instance]) {
    let mut by_uid: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, instance) in instances.iter().enumerate() {
        by_uid.entry(&instance.sop_uid).or_default().push(index);
    }
    let shared: Vec<usize> = by_uid.into_values().filter(|found| found.len() > 1).flatten().collect();
    let read = |&index: &usize| {
        let path = std::path::absolute(paths.get(index)?).ok()?;
        match reading::urgently(|| read_record(&path)) {
            Ok(Record::Instance(instance)) => Some((index, instance)),
            // The file changed since its header was read: without a digest it is like no other.
            _ => None,
        }
    };
    for (index, whole) in shared.par_iter().filter_map(read).collect::<Vec<_>>() {
        if let Some(instance) = instances.get_mut(index).filter(|instance| instance.sop_uid == whole.sop_uid)
        {
            *instance = whole;
        }
    }
}

/// The roots without those that are there twice, or lie in another one.
fn distinct_roots(roots: &[PathBuf]) -> Vec<&Path> {
    // A root that cannot be resolved stays, wherever it would lie: the walk says why.
    let real: Vec<Option<PathBuf>> = roots.iter().map(|root| root.canonicalize().ok()).collect();
    let covered = |own: usize| {
        let Some(Some(path)) = real.get(own) else { return false };
        let others = real.iter().enumerate().filter_map(|(number, other)| Some((number, other.as_ref()?)));
        others.into_iter().any(|(number, other)| path.starts_with(other) && (path != other || number < own))
    };
    roots.iter().enumerate().filter(|(own, _)| !covered(*own)).map(|(_, root)| root.as_path()).collect()
}

/// The findings about one series.
fn judge(series: &str, held: HeldSeries, options: InspectOptions) -> Result<Vec<Finding>, InspectError> {
    let (paths, mut instances) = held.unpack()?;
    complete(&paths, &mut instances);
    let all: Vec<&Instance> = instances.iter().collect();
    let place = |index: usize| Some((std::path::absolute(paths.get(index)?).ok()?, *all.get(index)?));
    let same = |a, b| {
        let (Some(a), Some(b)) = (place(a), place(b)) else { return false };
        same_values((&a.0, a.1), (&b.0, b.1))
    };
    let file = |index: usize| paths.get(index).map(PathBuf::as_path);
    let findings = assemble_asking(&all, Rules::default(), file, same).into_iter().map(|part| {
        // The part's indices are those of the instances that were given.
        let files: Vec<PathBuf> = part.instances.iter().map(|&index| paths[index].clone()).collect();
        let tags = part.instances.first().map(|&index| instances[index].tags.clone()).unwrap_or_default();
        let refused = |reject, files, tags| {
            Finding::Reject(Refused { series_uid: series.to_owned(), files, reject, tags })
        };
        let assembled = match part.verdict {
            Ok(assembled) => assembled,
            Err(reject) => return refused(reject, files, tags),
        };
        let statistics = match options.stats.then(|| decode(&assembled, &paths)).transpose() {
            Ok(statistics) => statistics,
            Err(reject) => return refused(reject, files, tags),
        };
        Finding::Volume(Box::new(FoundVolume {
            series_uid: series.to_owned(),
            part: part.number,
            files,
            shape: assembled.geometry.size,
            spacing_mm: assembled.geometry.spacing_mm(),
            affine_lps: assembled.geometry.affine_lps(),
            modality: tags.get("Modality").cloned().unwrap_or_default(),
            notes: assembled.notes.into_iter().chain(called::like_labels(&tags)).collect(),
            statistics,
            tags,
        }))
    });
    Ok(findings.collect())
}

fn decode(assembled: &Assembled, paths: &[PathBuf]) -> Result<Statistics, Reject> {
    let slices: Vec<(PathBuf, u32)> =
        assembled.slices.iter().map(|slice| (paths[slice.instance].clone(), slice.frame)).collect();
    let [_, rows, columns] = assembled.geometry.size;
    statistics(&slices, [rows, columns])
}
