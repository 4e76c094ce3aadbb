//! The way from files to records: the head of a file, its data set, and what a record keeps of it.

mod charset;
pub(crate) mod concatenation;
pub(crate) mod dataset;
pub(crate) mod frames;
mod head;
pub(crate) mod image;
pub mod instance;
pub(crate) mod keywords;
mod layout;
pub(crate) mod parse;
pub(crate) mod peek;
pub mod record;
pub(crate) mod refuse;
mod scanner;
mod unknown;

pub(crate) use dataset::{Dataset, decimal_strings};
pub(crate) use head::Head;

pub use instance::{Frame, Instance, PixelFormat, Tags};
pub use keywords::{MoreTags, can_be_kept};
pub use peek::HeaderReader;
pub use record::{Record, read_record, read_record_with};

/// The version of reading, raised when a file may come out as another record than before: all are read anew
/// then.
pub const READING: u64 = 5;
