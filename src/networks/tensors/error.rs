//! Why a network could not be built, read, trained or run.

use std::path::PathBuf;

use tch::TchError;

/// A failure of training or inference, with what was expected, what was found, and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A configuration that no network can be built from.
    #[error("network: {field}: {message}")]
    Config {
        /// The field.
        field: String,
        /// What was expected and found.
        message: String,
    },
    /// Numbers that do not have the shape they should.
    #[error("{what}: {expected} expected, {found} found")]
    Shape {
        /// The name of the numbers.
        what: String,
        /// The shape or count expected.
        expected: String,
        /// The shape or count found.
        found: String,
    },
    /// A file that holds no such model.
    #[error("{file}: {message}\nhint: {hint}")]
    File {
        /// The file, or `model` for bytes in memory.
        file: String,
        /// What was expected and found.
        message: String,
        /// A remedy.
        hint: String,
    },
    /// A sample that could not be read.
    #[error("sample {index}: {message}")]
    Sample {
        /// The sample's index in the source.
        index: usize,
        /// The source's own words.
        message: String,
    },
    /// A loss or a gradient that is no number.
    #[error(
        "a finite {what} expected in step {step} (epoch {epoch}), {value} found: {samples}\nhint: where intensities are not finite, look at the scan; else a smaller `learning_rate` or `clip_norm = 1.0` may help"
    )]
    NotFinite {
        /// The name of the number: `loss`, or `gradient norm`; with several learners, whose.
        what: String,
        /// The value found.
        value: f64,
        /// Steps since the training began, from 0.
        step: u64,
        /// Epochs since the training began, from 0.
        epoch: u64,
        /// The samples it came from; where some hold intensities that are not finite, those alone.
        samples: String,
    },
    /// A logit that is no number: nothing can be decided of its voxel.
    #[error(
        "finite logits expected for every voxel, NaN or an infinity found in slice {slice} of the prepared scan\nhint: where the scan's intensities are finite, look at the model: its weights, or its sums in fewer bits, may have overflowed"
    )]
    Logits {
        /// The slice of the volume, from 0.
        slice: usize,
    },
    /// The observer asked to stop; the checkpoint holds all batches so far.
    #[error("the training was cancelled in step {step}")]
    Cancelled {
        /// Steps since the training began, from 0.
        step: u64,
    },
    /// A device that is not there.
    #[error("device `{name}`: {message}\nhint: `auto` takes a GPU where there is one, `cpu` always works")]
    Device {
        /// The name asked for.
        name: String,
        /// What was found.
        message: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// libtorch refused.
    #[error("{doing}: {message}")]
    Torch {
        /// What was being done.
        doing: String,
        /// The first line of libtorch's own words.
        message: String,
    },
}

impl NetworkError {
    /// Whether a device, or the machine, had not enough memory for it: with less at a time it may go.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Torch { message, .. } if NO_MEMORY.iter().any(|words| message.contains(words)))
    }
}

/// What libtorch says when there is no more memory on a GPU, and for the CPU.
const NO_MEMORY: [&str; 2] = ["out of memory", "can't allocate memory"];

/// Says what was being done when libtorch refused.
pub(in crate::networks) trait Doing<T> {
    /// The same result, with the context.
    fn doing(self, what: impl Into<String>) -> Result<T, NetworkError>;
}

impl<T> Doing<T> for Result<T, TchError> {
    fn doing(self, what: impl Into<String>) -> Result<T, NetworkError> {
        self.map_err(|error| NetworkError::Torch { doing: what.into(), message: first_line(&error) })
    }
}

impl From<TchError> for NetworkError {
    fn from(error: TchError) -> Self {
        Self::Torch { doing: "tensor operation".to_owned(), message: first_line(&error) }
    }
}

/// libtorch's messages carry a C++ stack trace, which helps nobody here, and those of TorchScript say first where in
/// the script it was.
pub(in crate::networks) fn first_line(error: &TchError) -> String {
    let text = error.to_string();
    let of_memory = text.lines().find(|line| NO_MEMORY.iter().any(|words| line.contains(words)));
    of_memory
        .into_iter()
        .chain(text.lines())
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
