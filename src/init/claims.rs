//! Which files a source will claim, asked of the source's own reading of names.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::toml;
use crate::operators::sources::names::Names;

/// What files are claimed by: the fields of a source, and the folder that they are relative to.
pub struct Claims {
    /// The folder.
    pub folder: PathBuf,
    /// The fields, as TOML has them.
    pub fields: Vec<(String, String)>,
    names: Names,
}

impl Claims {
    /// Claims by patterns of names below a folder; `None` where they are none.
    pub fn by_patterns(root: &Path, patterns: &[String], labels: bool) -> Option<Self> {
        let config = json!({ "files": patterns });
        let config = config.as_object()?;
        let names = if labels { Names::read_labels(config) } else { Names::read(config) };
        let value = match patterns {
            [one] => toml::text(one),
            all => toml::list(all.iter().map(|text| toml::text(text))),
        };
        let fields = vec![("files".to_owned(), value)];
        Some(Self { folder: root.to_owned(), fields, names: names.ok()? })
    }

    /// Claims by a pattern in which `{channel}` stands for these words, or where that is none by files that
    /// hold all channels, of which the source is told so.
    pub fn of_channels(root: &Path, patterns: &[String], words: &[String], names: &[String]) -> Option<Self> {
        let config = json!({ "files": patterns });
        let names_of_files = Names::read_channels(config.as_object()?, words).ok()?;
        let mut claims = Self::by_patterns(root, &["*".to_owned()], false)?;
        let value = match patterns {
            [one] => toml::text(one),
            all => toml::list(all.iter().map(|text| toml::text(text))),
        };
        claims.fields = vec![
            ("files".to_owned(), value),
            ("channels".to_owned(), toml::list(names.iter().map(|name| toml::text(name)))),
        ];
        Some(Self { names: names_of_files, ..claims })
    }

    /// Claims by a table, which the pipeline file names so; `None` where it cannot be read.
    pub fn by_table(folder: &Path, table: &Path, written: &str) -> Option<Self> {
        let config = json!({ "table": table, "path": folder });
        let names = Names::read_labels(config.as_object()?).ok()?;
        let fields = vec![("table".to_owned(), toml::path(written))];
        Some(Self { folder: folder.to_owned(), fields, names })
    }

    /// Whether names of files say which channel they hold.
    pub fn say_channels(&self) -> bool {
        self.names.say_channels()
    }

    /// The case of a file, its patient, and the label that it holds.
    pub fn of(&self, file: &Path) -> Option<(String, String, Option<String>)> {
        let below = file.strip_prefix(&self.folder).ok()?;
        let (claim, label) = self.names.place_of_label(below)?;
        Some((claim.case, claim.patient, label))
    }
}
