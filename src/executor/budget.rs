//! The byte budget of `memory`: an action starts when what it needs is free.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that actions may hold at once.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// Bytes held; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
}

/// An action that can never start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes needed, `memory` allows {total}")]
pub struct OverBudget {
    /// What it needs.
    pub needed: u64,
    /// What there is.
    pub total: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, free: Mutex::new(total), freed: Condvar::new() })
    }

    /// Waits until `bytes` are free, and takes them.
    ///
    /// # Errors
    /// When the whole budget is smaller: waiting would never end.
    pub fn acquire(self: &Arc<Self>, bytes: u64) -> Result<Permit, OverBudget> {
        if bytes > self.total {
            return Err(OverBudget { needed: bytes, total: self.total });
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Ok(Permit { budget: self.clone(), bytes })
    }

    /// Returns the bytes held now.
    pub fn held(&self) -> u64 {
        self.total - *self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn what_can_never_fit_is_refused() {
        assert_eq!(Budget::new(10).acquire(11).unwrap_err(), OverBudget { needed: 11, total: 10 });
    }

    #[test]
    fn never_more_than_the_total_is_held() {
        let budget = Budget::new(100);
        let (held, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 1..=8u64 {
                let (budget, held, peak) = (&budget, &held, &peak);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let bytes = worker * 11;
                        let permit = budget.acquire(bytes).unwrap();
                        peak.fetch_max(held.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert!(peak.load(Ordering::SeqCst) <= 100);
        assert_eq!(budget.held(), 0);
    }
}
