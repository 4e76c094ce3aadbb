//! Clamps intensities to a window and scales them to 0 to 1.
