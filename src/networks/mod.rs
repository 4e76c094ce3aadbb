//! The only home of tch: blocks, architectures, losses, checkpoints, training and inference.

pub mod apply;
pub mod architectures;
pub mod blocks;
mod card;
pub mod extensions;
#[cfg(test)]
mod golden;
pub mod layouts;
pub mod losses;
mod named;
pub mod objectives;
pub mod sample;
pub mod start;
pub mod tensors;
pub mod train;

pub use apply::detect::{Detector, OnSlice};
pub use apply::maps::{MapKinds, Maps};
pub use apply::model::{InferOptions, Model, Precision, Segmented, Volume};
pub use apply::window::{Blend, Convention};
pub use architectures::Architecture;
pub use architectures::config::{
    Attention, NetworkConfig, NetworkSettings, OwnConfig, UnetConfig, UnetSettings,
};
pub use architectures::rcnn::config::{RcnnConfig, RcnnSettings};
pub use architectures::rcnn::{FindOptions, FoundBox};
pub use card::{Data, ModelCard, Origin, Step};
pub use extensions::Extensions;
pub use layouts::tensor_names;
pub use losses::LossConfig;
pub use named::Named;
pub use objectives::strategy::Strategy;
pub use sample::{InputView, Instance, Sample, SampleSource, Target, WholeCase};
pub use start::{Loaded, Names, Start, named_in};
/// libtorch as tomoflow links it: networks and losses of a downstream crate take it from here.
pub use tch;
pub use tensors::deterministic::set_deterministic;
pub use tensors::device::{Device, device, set_threads};
pub use tensors::error::NetworkError;
pub use tensors::file::CONVERSION;
pub use tensors::pages::large_pages;
pub use train::figure::Figure;
pub use train::optimizer::OptimizerConfig;
pub use train::rule::Rule;
pub use train::schedule::Schedule;
pub use train::{
    Keep, Observer, Running, Sources, Task, Timing, TrainSettings, Trained, Validate, train, train_by,
    train_from, train_on,
};
