//! Labels of scans: what they lie in, and how they are drawn.

use std::collections::BTreeSet;
use std::path::Path;

use tomoflow_connectors::rtstruct::{Form, Outlines, Whose};
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject};

use super::{FileSource, InstanceSource, SliceFile};

/// What labels lie in, and how they are bound to scans.
#[derive(Clone, Copy)]
pub enum LabelsIn<'a> {
    /// DICOM objects below a folder, which name what they were drawn on.
    Objects {
        /// The folder, `.zip` or `.tar`.
        root: &'a Path,
        /// What the objects hold.
        form: Form,
    },
    /// Files that are claimed, each for the scan of a case.
    Files(&'a dyn FileSource),
    /// Series of DICOM images whose values are labels: each is of the scan whose voxels are its own.
    Series {
        /// Which instances the series are made of.
        instances: &'a dyn InstanceSource,
        /// Whether places in space are believed throughout a study, whatever the frame of reference.
        trusted: bool,
    },
    /// A table that was read when the pipeline was built: [`LabelSource::listed`] says all of it.
    Table(&'a Path),
}

/// The file of one label, where each has its own.
#[derive(Clone, Copy, Debug)]
pub struct LabelPart<'a> {
    /// The label, from 1 on.
    pub label: u16,
    /// The file that holds it.
    pub file: &'a Path,
}

/// A series of images whose values are labels.
#[derive(Clone, Copy, Debug)]
pub struct LabelStack<'a> {
    /// The grid of the series.
    pub grid: &'a Geometry,
    /// The files and frames of its slices, ascending.
    pub slices: &'a [SliceFile],
}

/// Labels that are drawn on now.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LabelsAt<'a> {
    /// The file of the labels; none for those of a table, and for those that lie in a file each.
    pub file: Option<&'a Path>,
    /// The files of labels that lie in one each, by label.
    pub parts: &'a [LabelPart<'a>],
    /// The slices of labels that are a series of images.
    pub stack: Option<LabelStack<'a>>,
    /// The series of the scan that they are drawn on.
    pub series: &'a str,
    /// The labels' record in the index; of a table, the digest that it listed.
    pub record: Digest,
    /// The scan, by which images and structures that the labels name are known as its own.
    pub scan: &'a DrawnOn,
}

/// A scan, as contours tell it from others.
#[derive(Clone, Debug, Default)]
pub struct DrawnOn {
    /// The scan's FrameOfReferenceUID, or empty.
    pub frame_of_reference: String,
    /// The SOPInstanceUIDs of the scan's slices.
    pub images: BTreeSet<String>,
    /// Whether images that are not its own are another scan's.
    pub apart: bool,
    /// Labels that are known to be unknown: nothing is drawn of them. Ascending.
    pub absent: Vec<u16>,
}

impl DrawnOn {
    /// Returns whose image this SOPInstanceUID names.
    pub fn whose(&self, uid: &str) -> Whose {
        match (self.images.contains(uid), self.apart) {
            (true, _) => Whose::Ours,
            (false, true) => Whose::Others,
            (false, false) => Whose::Unknown,
        }
    }
}

/// The grid that labels are drawn onto.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    /// The scan's own grid.
    pub grid: &'a Geometry,
    /// The heights of slices, in planes; empty when each plane is a slice.
    pub heights: &'a [f64],
}

/// Labels as they were drawn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drawing {
    /// Classes on the scan's grid.
    pub labels: LabelMap,
    /// What was left out, by name: rows that are told of the case.
    pub notes: Vec<Reject>,
    /// Labels that nobody drew here, as opposed to those of which nothing was found.
    pub absent: Vec<u16>,
    /// The boxes of things, where these were marked by boxes and not drawn.
    pub boxes: Option<Vec<DrawnBox>>,
}

/// A thing that was marked by a box on a slice of the scan's own grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawnBox {
    /// The label of the thing, from 1 on.
    pub label: u16,
    /// The slice, from 0.
    pub slice: u32,
    /// The edges along `[H, W]` at the lower ends, in voxels: the first voxel begins at 0.
    pub low: [f64; 2],
    /// The edges at the upper ends.
    pub high: [f64; 2],
}

impl From<LabelMap> for Drawing {
    fn from(labels: LabelMap) -> Self {
        Self { labels, notes: Vec::new(), absent: Vec::new(), boxes: None }
    }
}

/// Labels of scans.
pub trait LabelSource: Send + Sync {
    /// Label names, from label 1 on.
    fn label_names(&self) -> Vec<String>;

    /// Returns what the labels lie in.
    fn lies_in(&self) -> LabelsIn<'_>;

    /// The labels of a table, with what each refers to; of [`LabelsIn::Table`] alone.
    fn listed(&self) -> Vec<Outlines> {
        Vec::new()
    }

    /// Returns which labels, from 1 on and ascending, an object below [`LabelsIn::Objects`] has nothing of,
    /// among those of its structures that lie where the scan does (`here`, by their places in the object from
    /// 0 on). The scan has no truth for these labels, which is not the same as an empty one.
    ///
    /// # Errors
    /// `NO_STRUCTURE` when it has nothing of any label: the names that it has. `DRAWN_ELSEWHERE` when all of it lies
    /// elsewhere.
    fn asks_for(&self, _outlines: &Outlines, _here: &dyn Fn(usize) -> bool) -> Result<Vec<u16>, Reject> {
        Ok(Vec::new())
    }

    /// Returns what the source asks for, beside its labels, that none of the objects below [`LabelsIn::Objects`] has.
    fn unmet_in(&self, _objects: &[&Outlines]) -> Vec<Reject> {
        Vec::new()
    }

    /// Returns, for each label from 1 on, the other labels whose voxels are its own as well: a liver holds
    /// its lesions. A map has one label a voxel, the innermost; scores count a label's region. Empty when
    /// labels do not overlap.
    fn nested(&self) -> Vec<Vec<u16>> {
        Vec::new()
    }

    /// The sets of labels that a voxel may have at once though none of a set holds another: labels that cross. A map shows
    /// the first set by the value after the last label, and so on; such values are among those that [`Self::nested`]
    /// says to be a label's own.
    fn sets(&self) -> Vec<Vec<u16>> {
        Vec::new()
    }

    /// The names of all values of a map, from 1 on: labels, then sets of them.
    fn value_names(&self) -> Vec<String> {
        value_names(&self.label_names(), &self.sets())
    }

    /// Whether segments are asked for by their places, which once were taken for names: their keys are others than those of
    /// that time.
    fn by_place(&self) -> bool {
        false
    }

    /// Whether things are marked by their boxes, which [`Drawing::boxes`] then has.
    fn gives_boxes(&self) -> bool {
        false
    }

    /// Draws labels on a scan's own grid.
    ///
    /// # Errors
    /// Whatever refuses them, by name. Labels that cannot be drawn are never an empty map.
    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject>;
}

/// The names of labels, and of sets of them: `tumour & oedema`.
pub fn value_names(labels: &[String], sets: &[Vec<u16>]) -> Vec<String> {
    let name = |label: &u16| labels.get(usize::from(*label).wrapping_sub(1)).map_or("", String::as_str);
    let of_set = |set: &Vec<u16>| set.iter().map(name).collect::<Vec<_>>().join(" & ");
    labels.iter().cloned().chain(sets.iter().map(of_set)).collect()
}
