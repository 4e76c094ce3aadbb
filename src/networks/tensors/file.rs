//! Named tensors in a safetensors file, with one JSON text in its header.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use safetensors::tensor::{Dtype, View};
use safetensors::{SafeTensors, serialize};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::networks::NetworkError;

/// The header's key. One key only: the order of several is not fixed, and files are named by content.
const KEY: &str = "tomoflow";

/// Headers are shorter than this, by the format.
const MOST: u64 = 100_000_000;

struct Numbers {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Numbers {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The file's bytes: the same for the same numbers and header.
pub(in crate::networks) fn write<'a, H: Serialize>(
    header: &H,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<Vec<u8>, NetworkError> {
    let text = serde_json::to_string(header).map_err(|error| unwritable(&error.to_string()))?;
    let mut named = BTreeMap::new();
    for (name, tensor) in tensors {
        let shape = tensor.size().iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
        let values = floats(tensor)?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        named.insert(name.to_owned(), Numbers { shape, bytes });
    }
    serialize(named, Some(HashMap::from([(KEY.to_owned(), text)])))
        .map_err(|error| unwritable(&error.to_string()))
}

/// A file's own header, of which only the texts matter here.
#[derive(Deserialize)]
struct Texts {
    #[serde(default, rename = "__metadata__")]
    texts: HashMap<String, String>,
}

/// The header, where there is one; what comes after it, the tensors, is not read, nor need it be there.
pub(in crate::networks) fn header<H: DeserializeOwned>(
    bytes: impl Read,
    file: &str,
) -> Result<Option<H>, NetworkError> {
    let texts = texts(bytes).map_err(|error| damaged(file, &error))?;
    texts.get(KEY).map(|text| serde_json::from_str(text)).transpose().map_err(|error| {
        let message = format!("the header's `{KEY}` is not what it should be: {error}");
        refuse(file, message, "another version may have written it")
    })
}

/// The names of a file's tensors, by its header alone; of anybody's file.
pub(in crate::networks) fn names(mut bytes: impl Read, file: &str) -> Result<Vec<String>, NetworkError> {
    let mut first = Vec::new();
    let read = (&mut bytes).take(9).read_to_end(&mut first);
    read.map_err(|error| damaged(file, &error))?;
    if is_pickled(&first) {
        return Err(pickled(file));
    }
    let text = header_text(first.chain(bytes)).map_err(|error| damaged(file, &error))?;
    let names: HashMap<String, serde::de::IgnoredAny> =
        serde_json::from_slice(&text).map_err(|error| damaged(file, &error))?;
    Ok(names.into_keys().filter(|name| name != "__metadata__").collect())
}

/// The texts of a header.
fn texts(bytes: impl Read) -> std::io::Result<HashMap<String, String>> {
    Ok(serde_json::from_slice::<Texts>(&header_text(bytes)?)?.texts)
}

/// Reads the text of a header: its length in eight bytes, the lowest first, and then JSON.
fn header_text(mut bytes: impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    bytes.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MOST {
        return Err(std::io::Error::other(format!(
            "a header of at most {MOST} bytes expected, {length} said"
        )));
    }
    let mut text = Vec::new();
    bytes.take(length).read_to_end(&mut text)?;
    Ok(text)
}

/// The header, where there is one, and the tensors on the CPU.
pub(in crate::networks) fn read<H: DeserializeOwned>(
    bytes: &[u8],
    file: &str,
) -> Result<(Option<H>, BTreeMap<String, Tensor>), NetworkError> {
    let header = header(bytes, file)?;
    let mut named = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(|error| damaged(file, &error))?.tensors() {
        if view.dtype() != Dtype::F32 {
            let message = format!("`{name}` holds {:?}, F32 expected", view.dtype());
            return Err(refuse(file, message, "convert the weights to 32-bit floats"));
        }
        let shape: Vec<i64> = view.shape().iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
        named.insert(name, Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?);
    }
    Ok((header, named))
}

/// Tensors of anybody's file.
pub(in crate::networks) struct Imported {
    /// The tensors, on the CPU, in 32 bits.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors that had another number of bits, by their type.
    pub rounded: BTreeMap<String, usize>,
    /// The names of those that hold whole numbers or words.
    pub passed: Vec<String>,
}

/// A remedy: how pickled weights become a file of numbers.
pub const CONVERSION: &str = "convert it once, with PyTorch and the package `safetensors`: \
     import torch; from safetensors.torch import save_file; \
     w = torch.load(\"IN\", map_location=\"cpu\", weights_only=True); w = w.get(\"state_dict\", w.get(\"model\", w)); \
     save_file({k: v.clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}, \"OUT.safetensors\")";

/// Whether bytes begin as pickled weights do: a ZIP archive, or a pickle of protocol 2 and later.
fn is_pickled(bytes: &[u8]) -> bool {
    // Behind the length of its header, which may be any, a safetensors file goes on with a brace.
    let begins = bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..]);
    begins && bytes.get(8) != Some(&b'{')
}

fn pickled(file: &str) -> NetworkError {
    let message = "numbers in a safetensors file expected, pickled weights found, which are a program";
    refuse(file, message.to_owned(), CONVERSION)
}

/// The tensors of a file whoever wrote it, floats of any number of bits in 32.
pub(in crate::networks) fn import(bytes: &[u8], file: &str) -> Result<Imported, NetworkError> {
    if is_pickled(bytes) {
        return Err(pickled(file));
    }
    let (mut tensors, mut rounded, mut passed) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, view) in SafeTensors::deserialize(bytes).map_err(|error| damaged(file, &error))?.tensors() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            _ => {
                passed.push(name);
                continue;
            }
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
        if kind != Kind::Float {
            *rounded.entry(format!("{:?}", view.dtype())).or_default() += 1;
        }
        tensors.insert(name, tensor.f_to_kind(Kind::Float)?);
    }
    passed.sort_unstable();
    Ok(Imported { tensors, rounded, passed })
}

fn refuse(file: &str, message: String, hint: &str) -> NetworkError {
    NetworkError::File { file: file.to_owned(), message, hint: hint.to_owned() }
}

fn damaged(file: &str, error: &dyn std::error::Error) -> NetworkError {
    let message = format!("not a safetensors file: {error}");
    refuse(file, message, "the file may be cut off, or of another format")
}

/// A tensor's numbers, the last axis fastest.
pub(in crate::networks) fn floats(tensor: &Tensor) -> Result<Vec<f32>, NetworkError> {
    let plain = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0f32; plain.numel()];
    plain.f_copy_data(&mut values, plain.numel())?;
    Ok(values)
}

fn unwritable(message: &str) -> NetworkError {
    refuse("model", message.to_owned(), "report this as a fault of tomoflow")
}
