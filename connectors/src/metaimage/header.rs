//! The header's keys, and what they say.

use std::collections::BTreeMap;

use crate::imagefile::{
    Layout, Scalar, bad_header, grid, numbers, several_volumes, unsupported_encoding, unsupported_type,
};
use crate::{Geometry, Reject};

/// The keys and values of a header, as text.
#[derive(Clone, Debug)]
pub(super) struct Header(BTreeMap<String, String>);

/// A line's key and value.
pub(super) fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(['=', ':'])?;
    Some((key.trim(), value.trim()))
}

impl Header {
    pub(super) fn parse(lines: &[String]) -> Result<Self, Reject> {
        let pairs = lines.iter().filter_map(|line| pair(line));
        let header = Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        let known =
            ["ObjectType", "NDims"].iter().any(|key| lines.first().is_some_and(|l| l.starts_with(key)));
        if !known {
            let message = "a MetaImage header expected, another beginning found";
            return Err(Reject::new("NOT_METAIMAGE", message, "is this another format?"));
        }
        match header.get(&["ObjectType"]) {
            None | Some("Image") => Ok(header),
            Some(other) => Err(bad_header(format!("an image expected, the object `{other}` found"))),
        }
    }

    /// The value of the first of these keys that is there: most keys have several names.
    fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|&key| self.0.get(key)).map(String::as_str)
    }

    fn needed(&self, key: &str) -> Result<&str, Reject> {
        self.get(&[key]).ok_or_else(|| bad_header(format!("the key {key} expected, none found")))
    }

    fn flag(&self, keys: &[&str]) -> bool {
        self.get(keys).is_some_and(|value| value.starts_with(['T', 't', '1', 'Y', 'y']))
    }

    /// The numbers of a key, as many as are asked for.
    fn vector(&self, keys: &[&str], count: usize) -> Result<Option<Vec<f64>>, Reject> {
        let Some(text) = self.get(keys) else { return Ok(None) };
        match numbers(text).filter(|found| found.len() == count) {
            Some(found) => Ok(Some(found)),
            None => {
                Err(bad_header(format!("{count} numbers for {} expected, `{text}` found", keys.join(", "))))
            }
        }
    }

    pub(super) fn data_file(&self) -> Result<&str, Reject> {
        self.needed("ElementDataFile")
    }

    pub(super) fn compressed(&self) -> Result<bool, Reject> {
        if self.get(&["BinaryData"]).is_some() && !self.flag(&["BinaryData"]) {
            return Err(unsupported_encoding("voxels as text"));
        }
        Ok(self.flag(&["CompressedData"]))
    }

    /// The number of bytes before the voxels; `None` when they are at the end of the file.
    pub(super) fn skip(&self) -> Result<Option<u64>, Reject> {
        match self.get(&["HeaderSize"]) {
            None => Ok(Some(0)),
            Some("-1") => Ok(None),
            Some(text) => {
                let wrong = |_| bad_header(format!("HeaderSize in bytes or -1 expected, `{text}` found"));
                text.parse().map(Some).map_err(wrong)
            }
        }
    }

    /// The number of axes, and of voxels along each; one along those that the file has not.
    fn size(&self) -> Result<(usize, [u64; 3]), Reject> {
        let axes = self.needed("NDims")?;
        let Some(axes) = axes.parse().ok().filter(|n| (1..=4).contains(n)) else {
            return Err(bad_header(format!("NDims from 1 to 4 expected, `{axes}` found")));
        };
        let sizes: Option<Vec<u64>> =
            self.needed("DimSize")?.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some(sizes) = sizes.filter(|sizes| sizes.len() == axes) else {
            return Err(bad_header(format!("a size along each of {axes} axes expected")));
        };
        let at = |axis: usize| sizes.get(axis).copied().unwrap_or(1);
        if at(3) > 1 {
            return Err(several_volumes(&format!("{} volumes", at(3))));
        }
        Ok((axes, [at(0), at(1), at(2)]))
    }

    pub(super) fn geometry(&self) -> Result<Geometry, Reject> {
        let (axes, size) = self.size()?;
        let spacing = self.vector(&["ElementSpacing", "ElementSize"], axes)?.unwrap_or(vec![1.0; axes]);
        let origin = self.vector(&["Offset", "Position", "Origin"], axes)?.unwrap_or(vec![0.0; axes]);
        let matrix = self.vector(&["TransformMatrix", "Rotation", "Orientation"], axes * axes)?;
        let mut steps = [[0.0; 3]; 3];
        for (axis, step) in steps.iter_mut().enumerate() {
            let length = spacing.get(axis).copied().unwrap_or(1.0);
            for (world, component) in step.iter_mut().enumerate() {
                let cosine = match &matrix {
                    Some(matrix) if axis < axes && world < axes => matrix.get(axis * axes + world).copied(),
                    _ => None,
                };
                *component = length * cosine.unwrap_or(f64::from(u8::from(axis == world)));
            }
        }
        let at = |axis: usize| origin.get(axis).copied().unwrap_or(0.0);
        grid(size, steps, [at(0), at(1), at(2)])
    }

    pub(super) fn layout(&self) -> Result<Layout, Reject> {
        if let Some(channels) = self.get(&["ElementNumberOfChannels"]).filter(|&channels| channels != "1") {
            return Err(unsupported_type(&format!("{channels} channels")));
        }
        // A long has four bytes in this format, whatever the machine.
        let scalar = match self.needed("ElementType")? {
            "MET_CHAR" => Scalar::I8,
            "MET_UCHAR" => Scalar::U8,
            "MET_SHORT" => Scalar::I16,
            "MET_USHORT" => Scalar::U16,
            "MET_INT" | "MET_LONG" => Scalar::I32,
            "MET_UINT" | "MET_ULONG" => Scalar::U32,
            "MET_LONG_LONG" => Scalar::I64,
            "MET_ULONG_LONG" => Scalar::U64,
            "MET_FLOAT" => Scalar::F32,
            "MET_DOUBLE" => Scalar::F64,
            other => return Err(unsupported_type(other)),
        };
        Ok(Layout::plain(scalar, self.flag(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])))
    }

    /// The number of bytes of all voxels.
    pub(super) fn bytes(&self) -> Result<u64, Reject> {
        let voxels = self.geometry()?.voxels() as u64;
        Ok(voxels.saturating_mul(self.layout()?.scalar.bytes() as u64))
    }
}
