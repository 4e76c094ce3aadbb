//! Pools, device threads, the byte budget, cancellation: where heavy work is done.

pub mod artifact;
pub mod budget;
mod device;
pub mod keys;
mod load;
mod pool;
mod slot;
pub mod work;

pub use load::{Context, Lookup, vanished};
pub use pool::{Executor, Finished, Job, Settings};
