//! Descriptors pass between processes on Unix alone.

use std::io;
use std::sync::Arc;

use millrace_listeners::{BindError, Inherited};

use crate::server::Means;

pub(crate) struct Upgrade {
    inherited: Arc<Inherited>,
}

impl Upgrade {
    pub(crate) fn begin(means: Means) -> io::Result<Self> {
        drop(means);
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn has_predecessor(&self) -> bool {
        false
    }

    pub(crate) fn refusal(&self) -> Option<io::Error> {
        None
    }

    pub(crate) fn inherited(&self) -> &Arc<Inherited> {
        &self.inherited
    }

    pub(crate) fn settle(&mut self) -> Result<(), BindError> {
        Ok(())
    }

    pub(crate) fn ready(&mut self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn end(self) {}
}
