use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::{Function, JsValuesTupleIntoVec, Result, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunctionCallMode, UnknownReturnValue};
use parking_lot::Mutex;

/// Things on their way to a function of JavaScript, which gets all that wait in one call. Never blocks.
pub(crate) struct Mailbox<T> {
    inner: Arc<Mutex<Waiting<T>>>,
    /// Has the function called; false when there is none any more.
    deliver: Box<dyn Fn() -> bool + Send + Sync>,
    most: usize,
}

struct Waiting<T> {
    things: Vec<T>,
    dropped: u64,
}

impl<T: Send + ToNapiValue + 'static> Mailbox<T>
where
    Vec<T>: JsValuesTupleIntoVec,
{
    /// One that holds `most` things; what comes beyond is counted, and told of as `told` makes it.
    pub(crate) fn new(
        function: Function<Vec<T>, UnknownReturnValue>,
        most: usize,
        told: impl Fn(u64) -> T + Send + 'static,
    ) -> Result<Arc<Self>> {
        let inner = Arc::new(Mutex::new(Waiting { things: Vec::new(), dropped: 0 }));
        let waiting: Arc<Mutex<Waiting<T>>> = inner.clone();
        let deliver = function.build_threadsafe_function::<()>().weak::<true>().build_callback(
            move |_| {
                let mut waiting = waiting.lock();
                let mut things = std::mem::take(&mut waiting.things);
                let dropped = std::mem::take(&mut waiting.dropped);
                drop(waiting);
                if dropped > 0 {
                    things.push(told(dropped));
                }
                Ok(things)
            },
        )?;
        let deliver =
            move || deliver.call((), ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok;
        Ok(Arc::new(Mailbox { inner, deliver: Box::new(deliver), most }))
    }

    /// Whether there is anybody to get it, as far as is known.
    pub(crate) fn push(&self, thing: T) -> bool {
        let first = {
            let mut waiting = self.inner.lock();
            if waiting.things.len() >= self.most {
                waiting.dropped += 1;
                return true;
            }
            waiting.things.push(thing);
            waiting.things.len() == 1
        };
        !first || (self.deliver)()
    }
}
