//! A case on another spacing.
