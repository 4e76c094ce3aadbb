//! Where tensors live: the CPU, or one of the GPUs when libtorch's CUDA half can be loaded.

use std::ffi::CStr;
use std::sync::OnceLock;

use crate::networks::NetworkError;

/// A device that was found to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device(pub(in crate::networks) tch::Device);

impl Device {
    /// The processor, which is always there.
    pub const CPU: Self = Self(tch::Device::Cpu);

    /// Whether it is a GPU.
    pub fn is_gpu(self) -> bool {
        self.0.is_cuda()
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            tch::Device::Cuda(index) => write!(f, "cuda:{index}"),
            _ => f.write_str("cpu"),
        }
    }
}

/// The device of this name: `auto` (the first GPU, or the CPU), `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// [`NetworkError::Device`] for a GPU that is not there and for an unknown name.
///
/// # Examples
/// ```
/// use tomoflow::networks::{Device, device};
/// assert_eq!(device("cpu").unwrap(), Device::CPU);
/// assert!(device("cuda:4711").is_err());
/// ```
pub fn device(name: &str) -> Result<Device, NetworkError> {
    let refused = |message: String| Err(NetworkError::Device { name: name.to_owned(), message });
    let index = match name {
        "cpu" => return Ok(Device::CPU),
        "auto" if gpus() == 0 => return Ok(Device::CPU),
        "auto" | "cuda" => 0,
        _ => match name.strip_prefix("cuda:").map(str::parse::<usize>) {
            Some(Ok(index)) => index,
            _ => return refused("`auto`, `cpu`, `cuda` or `cuda:N` expected".to_owned()),
        },
    };
    match gpus() {
        0 => refused("no GPU found, or libtorch's CUDA libraries are not on the library path".to_owned()),
        count if index >= count => refused(format!("{count} GPUs found, numbered from 0")),
        _ => Ok(Device(tch::Device::Cuda(index))),
    }
}

/// Sets the number of threads that one operation of libtorch may use on the CPU; results depend on it in the
/// last bits.
pub fn set_threads(intra: usize) {
    tch::set_num_threads(i32::try_from(intra.max(1)).unwrap_or(i32::MAX));
}

/// GPUs that libtorch can use. The linker keeps only the CPU half of libtorch, so the other is loaded
/// here, once; where it is absent there are none.
fn gpus() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        load_cuda_half();
        if tch::Cuda::is_available() { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 }
    })
}

fn load_cuda_half() {
    const LIBRARY: &CStr = c"libtorch_cuda.so";
    // SAFETY: the name ends in NUL. libtorch's initialisers register its GPU kernels and nothing else; the
    // handle is kept for the life of the process.
    let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        tracing::debug!("libtorch_cuda.so was not loaded: training and inference run on the CPU");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_never_fails_and_unknown_names_are_refused() {
        assert!(device("auto").is_ok());
        let error = device("gpu").unwrap_err().to_string();
        assert!(error.contains("`gpu`") && error.contains("hint"), "{error}");
    }
}
