//! N stacks around a target stack, as a view.
