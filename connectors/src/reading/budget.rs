//! How much of what is read may be in memory at once, all readers together.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use super::{busy, over_all};
use crate::machine;

/// The bytes that reading may hold at once where nobody said how many: what `memory` is by default, and on a
/// small machine a quarter of its memory.
const USUAL: u64 = 4 << 30;

/// The bytes that are allowed, and those that are held.
struct State {
    allowed: Vec<u64>,
    held: u64,
}

static STATE: Mutex<State> = Mutex::new(State { allowed: Vec::new(), held: 0 });
static FREED: Condvar = Condvar::new();

/// The bytes that are allowed where nobody said otherwise.
static ON_THIS_MACHINE: LazyLock<u64> =
    LazyLock::new(|| machine::allowance().map_or(USUAL, |bytes| USUAL.min(bytes / 4)));

thread_local! {
    /// The number of rooms that this thread holds.
    static OWN: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread is doing what cannot come again.
    static URGENT: Cell<bool> = const { Cell::new(false) };
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn allowed(&self) -> u64 {
        self.allowed.iter().copied().max().unwrap_or_else(|| *ON_THIS_MACHINE)
    }
}

/// Says how many bytes reading may hold at once, until it is dropped; of several that stand, the largest counts.
#[derive(Debug)]
pub struct Allowed(u64);

/// Allows so many bytes, from now on.
#[must_use]
pub fn allow(bytes: u64) -> Allowed {
    state().allowed.push(bytes);
    Allowed(bytes)
}

impl Drop for Allowed {
    fn drop(&mut self) {
        let mut state = state();
        if let Some(place) = state.allowed.iter().position(|&bytes| bytes == self.0) {
            state.allowed.swap_remove(place);
        }
    }
}

/// The number of bytes that reading may hold at once, which is also what a single file may come to.
pub fn allowed() -> u64 {
    state().allowed()
}

/// The number of bytes that reading holds now.
pub fn held() -> u64 {
    state().held
}

/// Room for bytes that are read, given back when dropped, by the thread that took it.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    own: PhantomData<*const ()>,
}

/// Takes room.
///
/// Where others hold it at the moment, a thread of rayon's pool is told so at once
/// ([`is_busy`](super::is_busy)): one that waited there might be waited for by those who hold it. Other threads
/// wait until there is room.
///
/// # Errors
/// [`is_over`](super::is_over) for more than is allowed at all, and [`is_busy`](super::is_busy).
pub fn room(bytes: u64) -> io::Result<Room> {
    let mut room = Room::none();
    let in_pool = rayon::current_thread_index().is_some();
    let mut state = state();
    loop {
        let allowed = state.allowed();
        if bytes > allowed {
            return Err(over_all(allowed));
        }
        // A thread that holds room must not wait for more: the rest may be held by others who wait alike.
        let cannot_wait = URGENT.get() || (!in_pool && OWN.get() > 1);
        if state.held.saturating_add(bytes) <= allowed || cannot_wait {
            room.bytes = bytes;
            state.held = state.held.saturating_add(bytes);
            return Ok(room);
        }
        if in_pool {
            drop(state);
            return Err(busy());
        }
        state = FREED.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Runs what a thread cannot do again later: it is never told that there is no room at the moment, and goes
/// beyond what is allowed by a file where it must.
pub fn urgently<T>(run: impl FnOnce() -> T) -> T {
    let before = URGENT.replace(true);
    let done = run();
    URGENT.set(before);
    done
}

/// Runs what is read again, after others: it waits for room where a thread may wait, and goes beyond what is
/// allowed elsewhere.
pub(crate) fn alone<T>(run: impl FnOnce() -> T) -> T {
    match rayon::current_thread_index() {
        Some(_) => urgently(run),
        None => run(),
    }
}

impl Room {
    /// A room of no bytes yet.
    pub fn none() -> Self {
        OWN.set(OWN.get() + 1);
        Self { bytes: 0, own: PhantomData }
    }

    /// Makes the room larger, as bytes come of which nobody knew how many there would be. It never waits.
    ///
    /// # Errors
    /// The errors of [`room`].
    pub fn grow(&mut self, more: u64) -> io::Result<()> {
        let mut state = state();
        let allowed = state.allowed();
        if self.bytes.saturating_add(more) > allowed {
            return Err(over_all(allowed));
        }
        let in_pool = rayon::current_thread_index().is_some();
        if state.held.saturating_add(more) > allowed && in_pool && !URGENT.get() {
            return Err(busy());
        }
        state.held = state.held.saturating_add(more);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
        let mut state = state();
        state.held = state.held.saturating_sub(self.bytes);
        drop(state);
        FREED.notify_all();
    }
}
