//! Pools, device threads, the byte budget, cancellation: where heavy work is done.

pub mod artifact;
pub mod budget;
mod device;
pub mod keys;
mod load;
mod pool;
pub mod work;

pub use load::{Context, Files};
pub use pool::{Executor, Finished, Job, Settings};
