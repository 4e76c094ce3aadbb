//! The choice of those of a file's structures and contours that were drawn on one scan.

use super::read::StructureSet;

/// The owner of the image that a contour names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The scan.
    Ours,
    /// Another scan.
    Others,
    /// Nobody that is known, as after an export that renumbers images.
    Unknown,
}

/// The structures and contours that were drawn on other images than the scan's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Structures that lie in another frame of reference, or all on images of another scan, by name.
    pub structures: Vec<String>,
    /// Contours that name an image of another scan.
    pub contours: usize,
}

impl StructureSet {
    /// Keeps what was drawn on one scan, and tells what was not.
    ///
    /// A contour that names an image of another scan is left out, and a structure with no others. A structure in another frame of reference than
    /// the scan's goes as a whole, unless one of its contours names an image of the scan; an unknown frame, of
    /// either, sets nothing apart.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::rtstruct::{Structure, StructureSet, Whose};
    /// let structure = |name: &str, frame: &str| Structure {
    ///     name: name.into(),
    ///     frame_of_reference: frame.into(),
    ///     ..Structure::default()
    /// };
    /// let structures = vec![structure("day 1", "1.2.71"), structure("day 2", "1.2.72")];
    /// let mut set = StructureSet { structures, ..StructureSet::default() };
    /// let elsewhere = set.keep_on("1.2.72", |_| Whose::Unknown);
    /// assert_eq!(set.structures[0].name, "day 2");
    /// assert_eq!(elsewhere.structures, ["day 1"]);
    /// ```
    pub fn keep_on(&mut self, frame_of_reference: &str, whose: impl Fn(&str) -> Whose) -> Elsewhere {
        let mut elsewhere = Elsewhere::default();
        self.structures.retain_mut(|structure| {
            let of = |uid: &str| if uid.is_empty() { Whose::Unknown } else { whose(uid) };
            let ours = structure.contours.iter().any(|contour| of(&contour.sop_uid) == Whose::Ours);
            let apart = !structure.frame_of_reference.is_empty()
                && !frame_of_reference.is_empty()
                && structure.frame_of_reference != frame_of_reference;
            if apart && !ours {
                elsewhere.structures.push(std::mem::take(&mut structure.name));
                return false;
            }
            let before = structure.contours.len();
            structure.contours.retain(|contour| of(&contour.sop_uid) != Whose::Others);
            elsewhere.contours += before - structure.contours.len();
            if before > 0 && structure.contours.is_empty() {
                // The structure is not empty: all of it is another scan's.
                elsewhere.structures.push(std::mem::take(&mut structure.name));
                return false;
            }
            true
        });
        elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtstruct::{Contour, ContourKind, Structure};

    fn structure(name: &str, frame: &str, images: &[&str]) -> Structure {
        let contour =
            |uid: &&str| Contour { kind: ContourKind::Closed, sop_uid: (*uid).into(), points: Vec::new() };
        Structure {
            name: name.into(),
            frame_of_reference: frame.into(),
            contours: images.iter().map(contour).collect(),
            ..Structure::default()
        }
    }

    fn kept(frame: &str, structures: Vec<Structure>) -> (Vec<(String, usize)>, Elsewhere) {
        let whose = |uid: &str| match uid.split('.').next() {
            Some("a") => Whose::Ours,
            Some("b") => Whose::Others,
            _ => Whose::Unknown,
        };
        let mut set = StructureSet { structures, ..StructureSet::default() };
        let elsewhere = set.keep_on(frame, whose);
        let left = set.structures.iter().map(|s| (s.name.clone(), s.contours.len()));
        (left.collect(), elsewhere)
    }

    #[test]
    fn contours_on_images_of_another_scan_are_left_out_and_old_ones_stay() {
        let (left, elsewhere) = kept("f", vec![structure("x", "f", &["a.1", "b.1", "old", ""])]);
        assert_eq!(left, [("x".to_owned(), 3)]);
        assert_eq!(elsewhere, Elsewhere { structures: Vec::new(), contours: 1 });
    }

    #[test]
    fn another_frame_counts_only_when_both_are_known_and_no_image_is_the_scans() {
        let set =
            || vec![structure("x", "g", &["old"]), structure("y", "g", &["a.1"]), structure("z", "", &[])];
        let (left, elsewhere) = kept("f", set());
        assert_eq!(left, [("y".to_owned(), 1), ("z".to_owned(), 0)]);
        assert_eq!(elsewhere.structures, ["x"]);
        assert_eq!(kept("", set()).0.len(), 3);
    }
}
