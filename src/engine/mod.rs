//! The only home of timely and differential: what is there, what is wanted, what is done.
