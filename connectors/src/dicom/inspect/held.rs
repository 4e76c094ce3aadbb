//! Records of a series from when they are read until it is judged: an archive of a million files must fit in memory.

use std::path::{Path, PathBuf};

use lz4_flex::block::{compress_with_dict, decompress_with_dict};
use postcard::Error;

use crate::dicom::header::instance::Instance;

/// The records of a series. Its instances differ in little, so that all are packed against the first.
#[derive(Debug, Default)]
pub(super) struct HeldSeries {
    first: Box<[u8]>,
    held: Vec<Held>,
}

/// A file and its record.
#[derive(Debug)]
struct Held {
    path: Box<Path>,
    packed: Box<[u8]>,
    /// The record's bytes when unpacked.
    length: u32,
}

impl Held {
    /// The record, which was packed against the first one's bytes.
    fn unpack(&self, first: &[u8]) -> Result<Instance, Error> {
        let record = decompress_with_dict(&self.packed, self.length as usize, first)
            .map_err(|_| Error::DeserializeUnexpectedEnd)?;
        postcard::from_bytes(&record)
    }
}

impl HeldSeries {
    /// Holds one more record.
    pub(super) fn push(&mut self, path: PathBuf, instance: &Instance) -> Result<(), Error> {
        let record = postcard::to_stdvec(instance)?;
        let length = u32::try_from(record.len()).map_err(|_| Error::SerializeBufferFull)?;
        if self.held.is_empty() {
            self.first = record.as_slice().into();
        }
        let packed = compress_with_dict(&record, &self.first).into();
        self.held.push(Held { path: path.into(), packed, length });
        Ok(())
    }

    /// The only record; `None` when there are several.
    pub(super) fn alone(&self) -> Result<Option<Instance>, Error> {
        let [held] = self.held.as_slice() else { return Ok(None) };
        held.unpack(&self.first).map(Some)
    }

    /// All records, in the order in which they came.
    pub(super) fn unpack(self) -> Result<(Vec<PathBuf>, Vec<Instance>), Error> {
        let mut paths = Vec::with_capacity(self.held.len());
        let mut instances = Vec::with_capacity(self.held.len());
        for held in self.held {
            instances.push(held.unpack(&self.first)?);
            paths.push(held.path.into());
        }
        Ok((paths, instances))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_and_takes_little() {
        let instance = |number: i32| Instance {
            series_uid: "1.2.840.113619.2.55.3.2831868886.582.1199368371.271".into(),
            sop_uid: format!("1.2.840.113619.2.55.3.2831868886.582.1199368371.{number}"),
            study_uid: "1.2.840.113619.2.55.3.2831868886.582.1199368371.269".into(),
            patient_id: "PAT000123".into(),
            ..Instance::default()
        };
        let mut series = HeldSeries::default();
        let mut expected = Vec::new();
        for number in 0..50 {
            series.push(PathBuf::from(format!("/archive/{number}")), &instance(number)).unwrap();
            expected.push(instance(number));
        }
        let stored: usize = series.held.iter().map(|held| held.packed.len()).sum();
        assert!(stored < 50 * 40, "{stored} bytes for 50 records that differ in a number");
        let (paths, instances) = series.unpack().unwrap();
        assert_eq!((paths.len(), &paths[7]), (50, &PathBuf::from("/archive/7")));
        assert_eq!(instances, expected);
    }
}
