//! Networks: what each is made of, as a value, and what it computes.

pub mod config;
pub mod unet;
