//! What tensors a network of a card has, before there are any.

use super::architectures::config::NetworkConfig;
use super::architectures::dense::Dense;
use super::architectures::rcnn::Rcnn;
use super::extensions::Extensions;
use super::tensors::error::NetworkError;
use super::tensors::weights::Layout;

/// The names of a network's tensors.
///
/// # Errors
/// [`NetworkError::Config`] where no network can be built.
pub fn tensor_names(config: &NetworkConfig, extensions: &Extensions) -> Result<Vec<String>, NetworkError> {
    let names = |layout: &Layout| layout.declared().map(|tensor| tensor.name.clone()).collect();
    Ok(match config {
        NetworkConfig::Rcnn(config) => names(Rcnn::new(config)?.layout()),
        config => names(Dense::new(config, extensions)?.layout()),
    })
}
