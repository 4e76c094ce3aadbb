//! Numbers of tensors on the CPU, as slices.

use tch::{Kind, Tensor};

use super::super::slab::Logits;
use super::NetworkError;

/// The windows that go into a network: a tensor `[N, C, D, H, W]` that is filled again for every batch.
pub(super) struct Windows(Tensor);

impl Windows {
    /// Zeros for `count` windows.
    pub(super) fn new(count: usize, channels: usize, window: [usize; 3]) -> Result<Self, NetworkError> {
        let [depth, height, width] = window.map(|n| n as i64);
        let shape = [count as i64, channels as i64, depth, height, width];
        Ok(Self(Tensor::f_zeros(shape, (Kind::Float, tch::Device::Cpu))?))
    }

    /// The first `count` of them.
    pub(super) fn first(&self, count: usize) -> Result<Tensor, NetworkError> {
        Ok(self.0.f_narrow(0, 0, count as i64)?)
    }

    /// Returns the numbers of the windows, `[N, C, D, H, W]`.
    pub(super) fn numbers_mut(&mut self) -> &mut [f32] {
        let count = self.0.numel();
        // SAFETY: the tensor was made here: 32-bit floats on the CPU, one after the other, as many as it says.
        // Nothing reads it while the slice lives, since the network that was given it has come back.
        unsafe { std::slice::from_raw_parts_mut(self.0.data_ptr().cast(), count) }
    }
}

/// Logits `[N, C, D, H, W]` as a tensor on the CPU whose rows can be read where they lie: a view stays a view.
pub(super) fn readable(logits: &Tensor) -> Result<Tensor, NetworkError> {
    if logits.is_sparse() || logits.is_mkldnn() {
        return Err(super::no_logits("a tensor that is not dense"));
    }
    let logits = logits.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_resolve_neg()?;
    let rows_lie_together = logits.stride().last().is_some_and(|&stride| stride == 1);
    if rows_lie_together { Ok(logits) } else { Ok(logits.f_contiguous()?) }
}

/// The numbers of a tensor that [`readable`] gave.
pub(super) fn numbers(logits: &Tensor) -> Result<Logits<'_>, NetworkError> {
    let (size, stride) = (logits.size(), logits.stride());
    let &[n, c, d, h, _] = stride.as_slice() else {
        return Err(super::no_logits(&format!("a tensor of {size:?}")));
    };
    let strides = [n, c, d, h].map(|stride| usize::try_from(stride).unwrap_or(0));
    let last = size.iter().zip(&stride).map(|(n, stride)| (n - 1).max(0) * stride).sum::<i64>();
    let empty = size.contains(&0) || logits.data_ptr().is_null();
    let count = if empty { 0 } else { usize::try_from(last + 1).unwrap_or(0) };
    let pointer = if empty { std::ptr::NonNull::dangling().as_ptr() } else { logits.data_ptr().cast() };
    // SAFETY: 32-bit floats on the CPU; the tensor's own sizes and strides, which are never negative, say that
    // its numbers lie within this range of its memory, and it lives as long as the slice.
    let numbers = unsafe { std::slice::from_raw_parts(pointer, count) };
    Ok(Logits { numbers, strides })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_read_where_they_lie() {
        let whole = Tensor::from_slice(&(0..48).map(|n| n as f32).collect::<Vec<_>>()).view([2, 1, 2, 3, 4]);
        let expanded = readable(&whole.expand([2, 3, 2, 3, 4], false)).unwrap();
        let found = numbers(&expanded).unwrap();
        assert_eq!((found.numbers.len(), found.strides), (48, [24, 0, 12, 4]));
        let middle = readable(&whole.narrow(4, 1, 2)).unwrap();
        let found = numbers(&middle).unwrap();
        assert_eq!((found.numbers[0], found.numbers.len(), found.strides), (1.0, 46, [24, 24, 12, 4]));
    }

    #[test]
    fn channels_that_lie_together_are_laid_apart() {
        let last =
            Tensor::from_slice(&[0f32, 1., 2., 3., 4., 5.]).view([1, 1, 1, 3, 2]).permute([0, 4, 1, 2, 3]);
        let logits = readable(&last).unwrap();
        assert_eq!(numbers(&logits).unwrap().numbers, [0., 2., 4., 1., 3., 5.]);
        let double = readable(&last.to_kind(Kind::Double)).unwrap();
        assert_eq!(numbers(&double).unwrap().numbers, [0., 2., 4., 1., 3., 5.]);
    }
}
