//! What a run leaves for others: tables, folders of masks, and the files in them.

mod carried;
pub(in crate::engine) mod folders;
pub(in crate::engine) mod identity;
pub(in crate::engine) mod left;
pub(in crate::engine) mod mapfile;
pub(in crate::engine) mod maskfile;
mod owner;
pub(in crate::engine) mod tables;
