//! The outlines that could not be drawn on a grid, by structure, and in words.

use std::collections::BTreeMap;

use super::read::Shared;
use crate::Reject;

/// The share of the area beyond the grid below which it is what rounded decimals leave, and is not told.
const TOLD_BEYOND: f64 = 1e-3;

/// The fate of the contours of one structure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeftOut {
    /// The structure's name.
    pub structure: String,
    /// The label that it is drawn as.
    pub label: u16,
    /// The number of the structure's contours in the file.
    pub contours: usize,
    /// The number of contours that were drawn.
    pub drawn: usize,
    /// The number of contours between slices.
    pub off_slice: usize,
    /// The number of contours before the first or after the last slice.
    pub beyond: usize,
    /// The share of the area of all contours that lies beyond the grid, of those beside it and of those that it
    /// cuts, from 0 to 1.
    pub beyond_share: f64,
    /// The number of contours that are there a second time, which would undo the first.
    pub repeated: usize,
    /// The number of points, lines, and closed contours of fewer than three corners.
    pub without_area: usize,
    /// The number of closed contours whose corners are no triples of numbers.
    pub unreadable: usize,
    /// The number of contours of types that are not known, by type.
    pub unknown_types: BTreeMap<String, usize>,
    /// Whether the structure's ROINumber is that of other structures as well.
    pub shared: Shared,
}

impl LeftOut {
    /// Whether contours are there, and not one of them was drawn: the structure is not empty, and looks as if it
    /// were.
    pub fn all(&self) -> bool {
        let unknown: usize = self.unknown_types.values().sum();
        let bounding = self.off_slice + self.beyond + self.unreadable + unknown;
        self.drawn == 0 && bounding + self.without_area > 0
    }

    /// The refusals of what was left out, by name; none when all was drawn.
    ///
    /// | code | meaning |
    /// | --- | --- |
    /// | `CONTOUR_OFF_SLICE` | contours between slices |
    /// | `CONTOUR_BEYOND_SCAN` | contours, or parts of them, beside the grid |
    /// | `CONTOUR_WITHOUT_AREA` | points, open lines, and closed contours of fewer than three corners |
    /// | `CONTOUR_TYPE` | contours of a type that is not known |
    /// | `CONTOUR_UNREADABLE` | contours whose corners cannot be read |
    /// | `CONTOUR_REPEATED` | contours that are there more than once, drawn once |
    /// | `ROI_NUMBER_REPEATED` | contours were told apart by their order alone |
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::rtstruct::LeftOut;
    /// let left =
    ///     LeftOut { structure: "GTV".into(), contours: 9, drawn: 7, off_slice: 2, ..LeftOut::default() };
    /// assert_eq!(left.told()[0].code, "CONTOUR_OFF_SLICE");
    /// assert_eq!(left.told()[0].message, "`GTV`: contours on slices expected, 2 of 9 lie between slices");
    /// ```
    pub fn told(&self) -> Vec<Reject> {
        let Self { structure, contours, off_slice, beyond, unreadable, .. } = self;
        let mut told = Vec::new();
        let mut tell = |code: &str, message: String, hint: &str| {
            told.push(Reject::new(code, format!("`{structure}`: {message}"), hint));
        };
        if self.shared == Shared::InOrder {
            let message = "a ROINumber of its own expected, another structure has the same; contours were \
                           told apart by their order in the file";
            tell("ROI_NUMBER_REPEATED", message.to_owned(), "check that the label is the right one");
        }
        if *off_slice > 0 {
            let message =
                format!("contours on slices expected, {off_slice} of {contours} lie between slices");
            tell("CONTOUR_OFF_SLICE", message, "were they drawn on another series of the same patient?");
        }
        if *beyond > 0 || self.beyond_share >= TOLD_BEYOND {
            let percent = 100.0 * self.beyond_share;
            let message = format!(
                "contours within the scan expected, {percent:.1} % of their area lies beyond it ({beyond} of \
                 {contours} contours before its first or after its last slice)"
            );
            tell("CONTOUR_BEYOND_SCAN", message, "was the scan cropped, or does it lack slices?");
        }
        if self.repeated > 0 {
            let message = format!(
                "each contour once expected, {} of {contours} are repeated: each is drawn once",
                self.repeated
            );
            tell(
                "CONTOUR_REPEATED",
                message,
                "the structure may have been exported twice: compare it with \
                                               its original",
            );
        }
        if self.without_area > 0 {
            let message = format!(
                "contours that bound an area expected, {} of {contours} are points, open lines, or have fewer than \
                 three corners: left out",
                self.without_area
            );
            tell("CONTOUR_WITHOUT_AREA", message, "export the structure with closed planar contours");
        }
        for (kind, count) in &self.unknown_types {
            let kind = if kind.is_empty() { "none" } else { kind };
            let message = format!(
                "a known ContourGeometricType expected, {kind} found; {count} of {contours} contours left out"
            );
            tell("CONTOUR_TYPE", message, "export the structure with closed planar contours");
        }
        if *unreadable > 0 {
            let message = format!("triples of numbers expected, none in {unreadable} of {contours} contours");
            tell("CONTOUR_UNREADABLE", message, "the file is damaged: export it again");
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_leaving_out_has_its_name() {
        let left = LeftOut {
            contours: 9,
            beyond_share: 0.25,
            unreadable: 1,
            off_slice: 1,
            repeated: 1,
            without_area: 1,
            shared: Shared::InOrder,
            unknown_types: [("SPLINE".to_owned(), 2), (String::new(), 1)].into(),
            ..LeftOut::default()
        };
        let codes: Vec<String> = left.told().into_iter().map(|told| told.code).collect();
        let wanted = "ROI_NUMBER_REPEATED CONTOUR_OFF_SLICE CONTOUR_BEYOND_SCAN CONTOUR_REPEATED CONTOUR_WITHOUT_AREA \
                      CONTOUR_TYPE CONTOUR_TYPE \
                      CONTOUR_UNREADABLE";
        assert_eq!(codes.join(" "), wanted);
        assert!(left.all());
        let part = LeftOut { contours: 3, drawn: 2, without_area: 1, ..LeftOut::default() };
        assert!(part.told()[0].message.contains("1 of 3 are points") && !part.all());
        // A structure of points alone is not empty: whoever asks for an isocentre asks for no volume.
        assert!(LeftOut { contours: 1, without_area: 1, ..LeftOut::default() }.all());
        let whole = LeftOut { contours: 3, drawn: 3, ..LeftOut::default() };
        assert!(whole.told().is_empty() && !whole.all());
    }
}
