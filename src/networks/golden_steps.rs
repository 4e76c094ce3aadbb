//! Steps and learning rates of PyTorch in double precision (`tests/golden/networks/make_steps.py`).

use std::path::PathBuf;

use safetensors::SafeTensors;
use serde_json::Value;

pub struct Golden {
    pub header: Value,
    bytes: Vec<u8>,
}

impl Golden {
    pub fn read() -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/steps.safetensors");
        let bytes = std::fs::read(file).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let header = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["golden"]).unwrap();
        Self { header, bytes }
    }

    /// A tensor's numbers, the last axis fastest.
    pub fn floats(&self, name: &str) -> Vec<f64> {
        self.rows(name).concat()
    }

    /// A tensor's numbers by its last axis.
    pub fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = all.tensor(name).unwrap();
        let numbers: Vec<f64> =
            view.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        numbers.chunks_exact(*view.shape().last().unwrap()).map(<[f64]>::to_vec).collect()
    }
}
