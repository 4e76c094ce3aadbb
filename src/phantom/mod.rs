//! Synthetic archives with truth.
