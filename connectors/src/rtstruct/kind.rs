//! ContourGeometricType: the standard's five, and what programs write beside them.

/// The kind of a contour, by its ContourGeometricType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContourKind {
    /// A contour that bounds an area: CLOSED_PLANAR and CLOSEDPLANAR_XOR, their other spellings, and what
    /// programs call a contour that they made between drawn ones (INTERPOLATED_PLANAR,
    /// CLOSEDPLANAR_INTERPOLATED).
    Closed,
    /// A contour that bounds no area: POINT, OPEN_PLANAR and OPEN_NONPLANAR.
    Open,
    /// A contour of none of these types.
    Unknown,
}

impl ContourKind {
    /// The kind that a ContourGeometricType means, whatever separates its words.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::rtstruct::ContourKind;
    /// assert_eq!(ContourKind::of("INTERPOLATED_PLANAR"), ContourKind::Closed);
    /// assert_eq!(ContourKind::of("CLOSED_NONPLANAR"), ContourKind::Unknown);
    /// ```
    pub fn of(text: &str) -> Self {
        let letters = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase());
        let word: String = letters.collect();
        match word.as_str() {
            "POINT" | "OPENPLANAR" | "OPENNONPLANAR" => Self::Open,
            "CLOSED"
            | "CLOSEDPLANAR"
            | "CLOSEDPLANARXOR"
            | "INTERPOLATED"
            | "INTERPOLATEDPLANAR"
            | "INTERPOLATEDCLOSEDPLANAR"
            | "CLOSEDINTERPOLATED"
            | "CLOSEDINTERPOLATEDPLANAR"
            | "CLOSEDPLANARINTERPOLATED" => Self::Closed,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_closed_contours_are_one_kind() {
        for text in [
            "CLOSED_PLANAR",
            "CLOSEDPLANAR_XOR",
            "CLOSED_PLANAR_XOR",
            "CLOSEDPLANAR",
            "closed planar",
            "CLOSEDPLANAR_INTERPOLATED",
            "INTERPOLATED_PLANAR",
        ] {
            assert_eq!(ContourKind::of(text), ContourKind::Closed, "{text}");
        }
        for text in ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"] {
            assert_eq!(ContourKind::of(text), ContourKind::Open, "{text}");
        }
        for text in ["", "CLOSED_NONPLANAR", "SPLINE", "CLOSED_PLANAR_2"] {
            assert_eq!(ContourKind::of(text), ContourKind::Unknown, "{text}");
        }
    }
}
