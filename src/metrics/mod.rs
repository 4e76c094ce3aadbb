//! Counts and distances to figures.
