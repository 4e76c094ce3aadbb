//! Algorithms whose sums come in one order: what a GPU computes then is the same each time.

use std::ffi::c_void;

// The linker finds them in libtorch, of which tch is no wrapper here.
unsafe extern "C" {
    /// `at::Context& at::globalContext()`
    #[link_name = "_ZN2at13globalContextEv"]
    fn global_context() -> *mut c_void;
    /// `void at::Context::setDeterministicCuDNN(bool)`
    #[link_name = "_ZN2at7Context21setDeterministicCuDNNEb"]
    fn set_deterministic_cudnn(context: *mut c_void, on: bool);
    /// `void at::Context::setDeterministicAlgorithms(bool, bool warn_only)`
    #[link_name = "_ZN2at7Context26setDeterministicAlgorithmsEbb"]
    fn set_deterministic_algorithms(context: *mut c_void, on: bool, warn_only: bool);
    /// `bool at::Context::deterministicAlgorithms() const`
    #[link_name = "_ZNK2at7Context23deterministicAlgorithmsEv"]
    fn deterministic_algorithms(context: *const c_void) -> bool;
}

/// Has libtorch take deterministic algorithms from here on, in the whole process, as PyTorch's
/// `use_deterministic_algorithms(True, warn_only=True)` does: an operation that has none runs all the same, and
/// libtorch warns of it.
pub fn set_deterministic() {
    // SAFETY: the context is made at its first use and lives as long as the process; the three set or read plain
    // flags of it, and are those of the libtorch that this was linked to.
    unsafe {
        let context = global_context();
        if !deterministic_algorithms(context) {
            set_deterministic_cudnn(context, true);
            set_deterministic_algorithms(context, true, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_takes_deterministic_algorithms() {
        set_deterministic();
        // SAFETY: as above.
        assert!(unsafe { deterministic_algorithms(global_context()) });
    }
}
