//! k adjacent slices as channels, as a view.
