use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;

/// What a handshake is done with, by the name that the client asks for.
#[derive(Default)]
pub(crate) struct Names {
    /// Those with `*.` before the rest stand under the rest.
    wildcards: HashMap<String, Arc<ServerConfig>>,
    exact: HashMap<String, Arc<ServerConfig>>,
    first: Option<Arc<ServerConfig>>,
}

/// A name as names are compared: without the dot of the root, in lower case.
pub(crate) fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Names {
    /// Adds one for these names; where a name has one already, that stays.
    pub(crate) fn add(&mut self, names: Vec<String>, config: Arc<ServerConfig>) {
        self.first.get_or_insert_with(|| config.clone());
        for name in names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcards, rest.to_owned()),
                None => (&mut self.exact, name),
            };
            map.entry(name).or_insert_with(|| config.clone());
        }
    }

    /// The one for a name: the name itself before a wildcard, which stands for one label.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<ServerConfig>> {
        self.exact.get(name).or_else(|| self.wildcards.get(name.split_once('.')?.1))
    }

    /// The one for all other names.
    pub(crate) fn first(&self) -> Option<&Arc<ServerConfig>> {
        self.first.as_ref()
    }
}
