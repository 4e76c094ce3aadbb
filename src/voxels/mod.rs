//! Arithmetic on volumes that knows no stage: grids, interpolation, morphology and components.

pub mod ball;
pub mod components;
pub mod fusion;
pub mod grid;
pub mod ignored;
pub mod interpolate;
pub mod kernel;
mod line;
pub mod mean_field;
pub mod onto;
pub mod orientation;
pub mod padding;
pub mod parts;
pub mod planes;
pub mod ranks;
pub mod register;
pub mod regrid;
pub mod row;
pub mod separable;
pub mod shares;
pub mod spline;
pub mod values;
pub mod votes;
pub mod within;
