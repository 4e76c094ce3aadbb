//! A segmenter without a network.
