use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

/// What all cryptography is done with, made once.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    &PROVIDER
}
