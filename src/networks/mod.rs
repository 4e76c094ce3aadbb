//! The only home of tch: blocks, architectures, losses, checkpoints, training and inference.

mod adam;
mod card;
mod checkpoint;
pub mod config;
mod counts;
mod deterministic;
pub mod device;
pub mod error;
mod file;
#[cfg(test)]
mod golden;
pub mod loss;
pub mod maps;
pub mod model;
pub mod optimizer;
mod pages;
pub mod sample;
mod scalar;
pub mod schedule;
pub mod slab;
pub mod train;
pub mod unet;
pub mod walk;
pub mod weights;
pub mod window;

pub use card::{Data, ModelCard, Origin, Step};
pub use config::{Attention, LossConfig, NetworkConfig, NetworkSettings, UnetConfig, UnetSettings};
pub use deterministic::set_deterministic;
pub use device::{Device, device, set_threads};
pub use error::NetworkError;
pub use maps::{MapKinds, Maps};
pub use model::{InferOptions, Model, Precision, Segmented, Volume};
pub use optimizer::OptimizerConfig;
pub use pages::large_pages;
pub use sample::{InputView, Sample, SampleSource};
pub use schedule::Schedule;
pub use train::{Figure, Keep, Observer, Running, Task, Timing, TrainSettings, Trained, train};
pub use window::{Blend, Convention};
