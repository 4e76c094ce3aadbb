//! One self-contained HTML page about what a pipeline's tables hold.
