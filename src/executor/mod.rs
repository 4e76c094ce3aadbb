//! Pools, device threads, the byte budget, cancellation: where heavy work is done.

mod adopted;
pub mod artifact;
mod boxes;
pub mod budget;
mod device;
mod ending;
mod filed;
mod found;
mod job;
pub mod keys;
mod lessons;
mod line;
mod load;
pub mod maps;
mod model_files;
mod need;
mod observer;
mod pool;
pub mod reach;
mod refine;
mod room;
mod sets;
mod slot;
mod starting;
mod trainings;
mod truth;
mod unseen;
pub mod work;
mod worker;

pub use job::{Finished, Job};
pub use load::{Context, Lookup, by_images, vanished};
pub use pool::{Executor, Settings};
pub use starting::PARTLY;
pub use trainings::{Training, trainings, trains};
pub use truth::{NEVER_DRAWN, NEVER_JUDGED};
