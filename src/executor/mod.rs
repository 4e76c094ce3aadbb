//! Pools, device threads, the byte budget, cancellation.
