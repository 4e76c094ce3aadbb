//! Sources of which `where` leaves nothing: what was asked for, and what is there.

use std::collections::{BTreeMap, BTreeSet};

use tomoflow_connectors::dicom::Record;

use super::label_series::instances_of;
use super::{Archive, Origin, SourceError};
use crate::pipeline::Identifiers;
use crate::store::Holds;

/// Series whose values are looked at, and values that are shown.
const SERIES: usize = 4096;
const VALUES: usize = 8;

/// Tags whose values say nothing of a person.
const PLAIN: [&str; 6] =
    ["BodyPartExamined", "ImageType", "Manufacturer", "ManufacturerModelName", "Modality", "SequenceName"];

impl Archive {
    /// Returns, for each source whose `where` leaves out all instances, a line that says so.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn left_out(&self) -> Result<Vec<String>, SourceError> {
        let (mut lines, mut told) = (Vec::new(), BTreeSet::new());
        for (reader, verdicts) in self.readers.iter().zip(&self.told) {
            let Origin::Instances(instances) = &reader.origin else { continue };
            let Some(source) = instances_of(&self.plan.stages[instances.source].stage) else { continue };
            let keywords = source.keywords();
            if !verdicts.is_empty() || keywords.is_empty() || !told.insert(instances.source) {
                continue;
            }
            let (mut count, mut series) = (0, BTreeSet::new());
            self.store.visit_files(&instances.root, |known| {
                if let Holds::Image { series: uid, .. } = known.holds {
                    count += 1;
                    if series.len() < SERIES && !series.contains(uid) {
                        series.insert(uid.to_owned());
                    }
                }
            })?;
            if count > 0 {
                let there = self.values(&series, &instances.root, &keywords)?;
                let name = &self.plan.stages[instances.source].name;
                lines.push(format!("{name}: `where` left out all of {count} instances; {there}"));
            }
        }
        Ok(lines)
    }

    /// The values of tags in the first instance of each series.
    fn values(
        &self,
        series: &BTreeSet<String>,
        root: &std::path::Path,
        keywords: &[&str],
    ) -> Result<String, SourceError> {
        let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for uid in series {
            let Some((_, first)) = self.store.members(uid, root)?.into_iter().next() else { continue };
            for record in self.store.records(&[first])? {
                let Record::Instance(instance) = record else { continue };
                for keyword in keywords {
                    let value = instance.tags.get(*keyword).cloned().unwrap_or_default();
                    values.entry(keyword).or_default().insert(value);
                }
            }
        }
        let clear = self.plan.settings.identifiers == Identifiers::Clear;
        let said = values.into_iter().map(|(keyword, values)| {
            if !clear && !PLAIN.contains(&keyword) {
                return format!("{keyword} has {} other values", values.len());
            }
            let shown = values.iter().take(VALUES).map(|value| format!("{value:?}"));
            let more = if values.len() > VALUES { ", …" } else { "" };
            format!("{keyword} is {}{more}", shown.collect::<Vec<_>>().join(", "))
        });
        Ok(said.collect::<Vec<_>>().join("; "))
    }
}
