//! The header's fields, and what they say.

use std::collections::BTreeMap;

use crate::imagefile::{
    Layout, Packing, Scalar, bad_header, grid, numbers, several_volumes, unsupported_encoding,
    unsupported_type,
};
use crate::{Geometry, Reject};

/// The fields (`name: value`) by their names in small letters, and key/value pairs (`key:=value`).
#[derive(Clone, Debug)]
pub(super) struct Header {
    fields: BTreeMap<String, String>,
    pub(super) pairs: BTreeMap<String, String>,
}

impl Header {
    pub(super) fn parse(lines: &[String]) -> Result<Self, Reject> {
        if !lines.first().is_some_and(|line| line.starts_with("NRRD000")) {
            let message = "an NRRD header expected, another beginning found";
            return Err(Reject::new("NOT_NRRD", message, "is this another format?"));
        }
        let mut header = Self { fields: BTreeMap::new(), pairs: BTreeMap::new() };
        for line in lines.iter().skip(1).filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.split_once(':') else { continue };
            match value.strip_prefix('=') {
                Some(value) => header.pairs.insert(name.to_owned(), value.to_owned()),
                None => header.fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned()),
            };
        }
        Ok(header)
    }

    fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|&name| self.fields.get(name)).map(String::as_str)
    }

    fn needed(&self, name: &str) -> Result<&str, Reject> {
        self.get(&[name]).ok_or_else(|| bad_header(format!("the field `{name}` expected, none found")))
    }

    pub(super) fn data_file(&self) -> Option<&str> {
        self.get(&["data file", "datafile"])
    }

    pub(super) fn packing(&self) -> Result<Packing, Reject> {
        match self.needed("encoding")? {
            "raw" => Ok(Packing::Raw),
            "gzip" | "gz" => Ok(Packing::Deflated),
            other => Err(unsupported_encoding(other)),
        }
    }

    /// The number of bytes before the voxels; `None` when they are at the end of the file.
    pub(super) fn skip(&self) -> Result<Option<u64>, Reject> {
        if self.get(&["line skip", "lineskip"]).is_some_and(|lines| lines != "0") {
            return Err(unsupported_encoding("lines to be skipped before the voxels"));
        }
        match self.get(&["byte skip", "byteskip"]) {
            None => Ok(Some(0)),
            Some("-1") => Ok(None),
            Some(text) => {
                let wrong = |_| bad_header(format!("`byte skip` in bytes or -1 expected, `{text}` found"));
                text.parse().map(Some).map_err(wrong)
            }
        }
    }

    pub(super) fn layout(&self) -> Result<Layout, Reject> {
        let scalar = match self.needed("type")? {
            "signed char" | "int8" | "int8_t" => Scalar::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Scalar::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Scalar::I16,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Scalar::U16,
            "int" | "signed int" | "int32" | "int32_t" => Scalar::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Scalar::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Scalar::I64,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
                Scalar::U64
            }
            "float" => Scalar::F32,
            "double" => Scalar::F64,
            other => return Err(unsupported_type(other)),
        };
        let big_endian = match self.get(&["endian"]) {
            Some("little") => false,
            Some("big") => true,
            None if scalar.bytes() == 1 => false,
            other => return Err(bad_header(format!("endian: little or big expected, {other:?} found"))),
        };
        Ok(Layout::plain(scalar, big_endian))
    }

    /// The number of bytes of all voxels.
    pub(super) fn bytes(&self) -> Result<u64, Reject> {
        let voxels = self.geometry()?.voxels() as u64;
        Ok(voxels.saturating_mul(self.layout()?.scalar.bytes() as u64))
    }

    pub(super) fn geometry(&self) -> Result<Geometry, Reject> {
        let axes = self.needed("dimension")?;
        let Some(axes) = axes.parse::<usize>().ok().filter(|n| (1..=16).contains(n)) else {
            return Err(bad_header(format!("a dimension from 1 to 16 expected, `{axes}` found")));
        };
        let sizes: Option<Vec<u64>> =
            self.needed("sizes")?.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some(sizes) = sizes.filter(|sizes| sizes.len() == axes) else {
            return Err(bad_header(format!("a size along each of {axes} axes expected")));
        };
        let mut steps = self.steps(axes)?;
        for (step, kind) in steps.iter_mut().zip(self.get(&["kinds"]).unwrap_or("").split_whitespace()) {
            if !["domain", "space", "none", "???"].contains(&kind) {
                *step = None;
            }
        }
        // Axes outside space hold several values for each place.
        if let Some((n, _)) = sizes.iter().zip(&steps).find(|(n, step)| step.is_none() && **n > 1) {
            return Err(several_volumes(&format!("{n} values for each voxel, or overlapping layers,")));
        }
        let mut places = sizes.iter().zip(&steps).filter_map(|(&n, &step)| Some((n, step?)));
        let mut next = || places.next().unwrap_or((1, [0.0; 3]));
        let [i, j, k] = [next(), next(), next()];
        if places.any(|(n, _)| n > 1) {
            return Err(several_volumes("more than three axes in space"));
        }
        let origin = match self.get(&["space origin"]) {
            None => [0.0; 3],
            Some(text) => vector(text)?,
        };
        let signs = self.signs()?;
        let to_lps = |v: [f64; 3]| [v[0] * signs[0], v[1] * signs[1], v[2]];
        grid([i.0, j.0, k.0], [i.1, j.1, k.1].map(to_lps), to_lps(origin))
    }

    /// A note on a first place along each axis, which some programs take for the origin where no `space origin` is.
    pub(super) fn note(&self) -> Option<String> {
        let mins = self.get(&["axis mins", "axismins"])?;
        let first = |word: &str| word.parse::<f64>().is_ok_and(|place| place.is_finite() && place != 0.0);
        let meant = self.get(&["space origin"]).is_none() && mins.split_whitespace().any(first);
        meant.then(|| format!("AXIS_MINS_UNUSED: {mins}, the origin is taken for 0"))
    }

    /// The signs with which the first two world axes turn to left and posterior.
    fn signs(&self) -> Result<[f64; 2], Reject> {
        match self.get(&["space"]).map(str::to_ascii_lowercase).as_deref() {
            // ITK too takes the axes as they are where there is no space.
            None | Some("left-posterior-superior" | "lps") => Ok([1.0, 1.0]),
            Some("right-anterior-superior" | "ras") => Ok([-1.0, -1.0]),
            Some("left-anterior-superior" | "las") => Ok([1.0, -1.0]),
            Some(other) => {
                let message = format!("one of the spaces LPS, RAS and LAS expected, `{other}` found");
                Err(Reject::new("BAD_GEOMETRY", message, "the patient's axes must be known"))
            }
        }
    }

    /// The step of each axis; `None` for one that does not lie in space.
    fn steps(&self, axes: usize) -> Result<Vec<Option<[f64; 3]>>, Reject> {
        if let Some(text) = self.get(&["space directions"]) {
            let steps = vectors(text)?;
            if steps.len() != axes {
                return Err(bad_header(format!(
                    "a direction for each of {axes} axes expected, `{text}` found"
                )));
            }
            return Ok(steps);
        }
        let spacings = match self.get(&["spacings"]) {
            None => vec![1.0; axes],
            Some(text) => match numbers(text).filter(|found| found.len() == axes) {
                Some(found) => found,
                None => return Err(bad_header(format!("{axes} spacings expected, `{text}` found"))),
            },
        };
        let step = |(axis, &length): (usize, &f64)| {
            let mut step = [0.0; 3];
            *step.get_mut(axis)? = if length.is_nan() { 1.0 } else { length };
            Some(step)
        };
        Ok(spacings.iter().enumerate().map(step).collect())
    }
}

/// Reads a vector such as `(1,0,0)`.
fn vector(text: &str) -> Result<[f64; 3], Reject> {
    let wrong = || bad_header(format!("a vector of three numbers expected, `{text}` found"));
    let inner = text.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
    let numbers: Option<Vec<f64>> = inner.split(',').map(|word| word.trim().parse().ok()).collect();
    numbers.and_then(|found| <[f64; 3]>::try_from(found).ok()).ok_or_else(wrong)
}

/// Reads vectors such as `none (1,0,0) (0,1,0) (0,0,1)`.
fn vectors(text: &str) -> Result<Vec<Option<[f64; 3]>>, Reject> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = if rest.starts_with('(') {
            rest.find(')').map_or(rest.len(), |end| end + 1)
        } else {
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end);
        found.push(if word == "none" { None } else { Some(vector(word)?) });
        rest = after.trim_start();
    }
    Ok(found)
}
