//! Instance index and action cache (redb), artifacts by content.
