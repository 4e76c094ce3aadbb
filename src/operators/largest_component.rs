//! Keeps the largest connected component of each label.
