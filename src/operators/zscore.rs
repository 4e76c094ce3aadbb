//! Zero mean and unit variance for each scan.
