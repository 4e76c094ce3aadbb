//! Networks and losses of a downstream crate, by the names that pipelines and cards call them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tch::Tensor;

use super::architectures::Architecture;
use super::named::Named;
use super::{NetworkConfig, NetworkError, OwnConfig};

/// The field in which settings hold the version of the code that follows them.
pub(crate) const VERSION: &str = "version";

/// Makes a network from its settings, for so many channels in and classes out.
pub type BuildNetwork = fn(&Map<String, Value>, usize, usize) -> Result<Box<dyn Architecture>, NetworkError>;

/// Makes a loss from its settings.
pub type BuildLoss = fn(&Map<String, Value>) -> Result<OwnLoss, NetworkError>;

/// The loss of logits against one channel a class, both `[N, C, D, H, W]` in 32 bits; a number.
pub type OwnLoss = Box<dyn Fn(&Tensor, &Tensor) -> Result<Tensor, NetworkError> + Send + Sync>;

/// Something by its name, with the version of its code.
#[derive(Clone, Copy, Debug)]
struct Known<B> {
    version: u32,
    build: B,
}

/// Networks and losses beside those that tomoflow brings.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    networks: BTreeMap<&'static str, Known<BuildNetwork>>,
    losses: BTreeMap<&'static str, Known<BuildLoss>>,
}

impl Extensions {
    /// Adds a network, or replaces the one of the same name.
    pub fn add_network(&mut self, name: &'static str, version: u32, build: BuildNetwork) {
        self.networks.insert(name, Known { version, build });
    }

    /// Adds a loss, or replaces the one of the same name.
    pub fn add_loss(&mut self, name: &'static str, version: u32, build: BuildLoss) {
        self.losses.insert(name, Known { version, build });
    }

    /// The versions of the code of what a network's and a loss's settings name; none where tomoflow brings them.
    pub(in crate::networks) fn versions(
        &self,
        network: Option<&str>,
        loss: Option<&str>,
    ) -> [Option<u32>; 2] {
        let network = network.and_then(|name| Some(self.networks.get(name)?.version));
        [network, loss.and_then(|name| Some(self.losses.get(name)?.version))]
    }

    /// The network of a configuration.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a name that nobody has registered, for settings of another version of its code,
    /// and for what the network refuses itself.
    pub fn network(&self, config: &OwnConfig) -> Result<Box<dyn Architecture>, NetworkError> {
        let OwnConfig { name, in_channels, classes, settings } = config;
        let build = found("network", &self.networks, name, settings)?;
        build(settings, *in_channels, *classes)
    }

    /// The network of a card, where it is one of a downstream crate.
    pub(crate) fn of(&self, config: &NetworkConfig) -> Option<Result<Box<dyn Architecture>, NetworkError>> {
        match config {
            NetworkConfig::Unet(_) | NetworkConfig::Rcnn(_) => None,
            NetworkConfig::Own(config) => Some(self.network(config)),
        }
    }

    /// The loss of these settings.
    ///
    /// # Errors
    /// As for [`network`](Self::network).
    pub fn loss(&self, Named { name, settings }: &Named) -> Result<OwnLoss, NetworkError> {
        found("loss", &self.losses, name, settings)?(settings)
    }
}

fn found<B: Copy>(
    what: &str,
    known: &BTreeMap<&'static str, Known<B>>,
    name: &str,
    settings: &Map<String, Value>,
) -> Result<B, NetworkError> {
    let refuse = |message: String| NetworkError::Config { field: what.to_owned(), message };
    let Some(Known { version, build }) = known.get(name) else {
        let names: Vec<&str> = known.keys().copied().collect();
        let names = if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) };
        return Err(refuse(format!("`{name}` is registered by nobody here; registered: {names}")));
    };
    match settings.get(VERSION) {
        Some(found) if found.as_u64() != Some(u64::from(*version)) => Err(refuse(format!(
            "version {version} of `{name}` expected, version {found} found: its code has changed"
        ))),
        _ => Ok(*build),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        let mut extensions = Extensions::default();
        extensions.add_loss("mine", 2, |_| Ok(Box::new(|logits, _| Ok(logits.f_mean(None::<tch::Kind>)?))));
        let named = |value: Value| serde_json::from_value::<Named>(value).unwrap();
        assert!(extensions.loss(&named(json!({ "type": "mine", "version": 2 }))).is_ok());
        assert!(extensions.loss(&named(json!({ "type": "mine" }))).is_ok());
        let error = |value| extensions.loss(&named(value)).err().unwrap().to_string();
        let other = error(json!({ "type": "yours" }));
        assert!(other.contains("`yours` is registered by nobody here; registered: `mine`"), "{other}");
        let older = error(json!({ "type": "mine", "version": 1 }));
        assert!(older.contains("version 2 of `mine` expected, version 1 found"), "{older}");
    }
}
