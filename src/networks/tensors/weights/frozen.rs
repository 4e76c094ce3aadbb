//! Tensors that a training leaves as they are, by the beginnings of their names.

use tch::Tensor;

use super::{Declared, Layout};
use crate::networks::NetworkError;

/// Which tensors of a network a training leaves as they are.
#[derive(Default)]
pub(in crate::networks) struct Frozen {
    /// The frozen numbers among all parameters: the first number, how many, and which.
    kept: Vec<(i64, i64, Tensor)>,
    /// Whether each buffer is frozen, by the buffers' places.
    buffers: Vec<bool>,
}

/// Whether a tensor's name begins with one of these.
pub(in crate::networks) fn begins(name: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
}

impl Frozen {
    /// The tensors whose names begin so, with the numbers that they have in `flat` now.
    pub fn of(layout: &Layout, prefixes: &[String], flat: &Tensor) -> Result<Self, NetworkError> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        let mut offset = 0;
        for tensor in &layout.parameters {
            let count = tensor.count();
            if begins(&tensor.name, prefixes) {
                match ranges.last_mut() {
                    Some((first, length)) if *first + *length == offset => *length += count,
                    _ => ranges.push((offset, count)),
                }
            }
            offset += count;
        }
        let kept = ranges.into_iter().map(|(first, length)| {
            let now = flat.f_narrow(0, first, length)?.f_detach()?;
            let mut kept = now.f_empty_like()?;
            kept.f_copy_(&now)?;
            Ok((first, length, kept))
        });
        let kept = kept.collect::<Result<_, NetworkError>>()?;
        let buffers = layout.buffers.iter().map(|Declared { name, .. }| begins(name, prefixes)).collect();
        Ok(Self { kept, buffers })
    }

    /// Whether the running statistic of this place stays as it is.
    pub fn holds_buffer(&self, place: usize) -> bool {
        self.buffers.get(place).copied().unwrap_or(false)
    }

    /// Takes what would move them out of a gradient, so that it has no part in its norm either.
    pub fn still(&self, gradient: &Tensor) -> Result<(), NetworkError> {
        for (first, length, _) in &self.kept {
            let _ = gradient.f_narrow(0, *first, *length)?.f_zero_()?;
        }
        Ok(())
    }

    /// Gives them the numbers that they had: weights decay without a gradient, too.
    pub fn restore(&self, flat: &Tensor) -> Result<(), NetworkError> {
        for (first, length, kept) in &self.kept {
            flat.f_narrow(0, *first, *length)?.f_copy_(kept)?;
        }
        Ok(())
    }

    /// Returns the same once more.
    pub fn shared(&self) -> Self {
        let kept = self.kept.iter().map(|(first, length, kept)| (*first, *length, kept.shallow_clone()));
        Self { kept: kept.collect(), buffers: self.buffers.clone() }
    }
}
