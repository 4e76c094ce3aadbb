//! Golden files of `golden/operators/make.py`, as tests read them.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::path::Path;

use safetensors::SafeTensors;
use tomoflow::connectors::Geometry;

/// One golden file.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/operators");
        Self(std::fs::read(folder.join(name)).unwrap())
    }

    fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    pub fn size(&self, name: &str) -> [usize; 3] {
        self.bytes(name).0.try_into().unwrap()
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.bytes(name).1.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn f64(&self, name: &str) -> Vec<f64> {
        self.bytes(name).1.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn u16(&self, name: &str) -> Vec<u16> {
        self.bytes(name).1.chunks_exact(2).map(|b| u16::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// A 4x4 matrix whose columns are the steps along `[D, H, W]` and the origin.
    pub fn geometry(&self, name: &str, size: [usize; 3]) -> Geometry {
        let m = self.f64(name);
        let column = |c: usize| [m[c], m[4 + c], m[8 + c]];
        Geometry { size, origin_mm: column(3), steps_mm: [column(0), column(1), column(2)] }
    }
}
