//! What can be asked of an output beside its tables: why, what next, how it looks, and copies for others.

mod destination;
pub(in crate::engine) mod differences;
pub(in crate::engine) mod explain;
pub(in crate::engine) mod export;
pub(in crate::engine) mod forecast;
pub(in crate::engine) mod found;
pub(in crate::engine) mod ledger;
pub(in crate::engine) mod nnunet;
pub(in crate::engine) mod outlook;
pub(in crate::engine) mod pictures;
pub(in crate::engine) mod rejects;
