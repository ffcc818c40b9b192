use std::sync::Arc;

use napi::bindgen_prelude::{Object, Result};
use napi::{Env, JsDeferred};
use parking_lot::Mutex;

type Settle = JsDeferred<bool, Box<dyn FnOnce(Env) -> Result<bool> + Send>>;

/// Whether another process takes over from a server, once that is known: a promise of JavaScript.
#[derive(Clone, Default)]
pub(crate) struct Succession {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_known: Option<bool>,
    waiting: Vec<Settle>,
}

impl Succession {
    pub(crate) fn promise<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise): (Settle, _) = env.create_deferred()?;
        let mut state = self.state.lock();
        match state.is_known {
            Some(known) => deferred.resolve(Box::new(move |_| Ok(known))),
            None => state.waiting.push(deferred),
        }
        Ok(promise)
    }

    /// The first one to know is believed.
    pub(crate) fn settle(&self, known: bool) {
        let mut state = self.state.lock();
        let known = *state.is_known.get_or_insert(known);
        for deferred in state.waiting.drain(..) {
            deferred.resolve(Box::new(move |_| Ok(known)));
        }
    }
}
