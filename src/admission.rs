//! Whose connections an endpoint takes, as JavaScript says it, and the function that it is asked with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use millrace_listeners::{
    Admission, Check, ConnectionCheck, ConnectionFilter, Others, ProxyProtocol, Unsaid, Verdict,
};
use millrace_transport::Address;
use napi::Status;
use napi::bindgen_prelude::{FnArgs, Function, Result};
use napi::threadsafe_function::{
    ThreadsafeCallContext, ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue,
};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::crossing::{Crossing, NativeCrossing};
use crate::options::{length, networks};

/// Connections that JavaScript is asked about at once, for each endpoint. Of further ones nothing is said.
const MOST_ASKED: usize = 1024;

/// Whose connections an endpoint takes. Checked and completed in ts/.
#[napi(object, object_to_js = false)]
pub struct NativeAdmissionOptions {
    /// Proxies that name their clients; absent: there are none.
    pub proxies: Option<Vec<String>>,
    pub others_direct: bool,
    pub proxy_timeout_ms: u32,
    /// Absent: everybody.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
    pub check_timeout_ms: u32,
    pub accepts_unchecked: bool,
}

impl NativeAdmissionOptions {
    pub(crate) fn admission(&self, check: Option<Arc<dyn ConnectionCheck>>) -> Result<Admission> {
        let proxy_protocol = match &self.proxies {
            None => None,
            Some(from) => Some(ProxyProtocol {
                from: networks(from)?,
                others: if self.others_direct { Others::Direct } else { Others::Refuse },
                timeout: length(self.proxy_timeout_ms),
            }),
        };
        let (timeout, or_else) = (length(self.check_timeout_ms), self.accepts_unchecked);
        let filter = ConnectionFilter {
            allow: self.allow.as_deref().map(networks).transpose()?,
            deny: networks(&self.deny)?,
            check: check.map(|check| Check { check, timeout, or_else }),
        };
        Ok(Admission { proxy_protocol, filter })
    }
}

/// A question: its number, then host and port of the client, and those of where it has connected to.
type Question = FnArgs<(u32, String, u32, String, u32)>;

type Ask = ThreadsafeFunction<Question, UnknownReturnValue, Question, Status, false, true>;

/// A function of JavaScript that says of connections whether they are taken.
#[napi]
pub struct NativeConnectionCheck {
    pub(crate) asked: Arc<Asked>,
}

#[napi]
impl NativeConnectionCheck {
    /// `ask` gets each question; `answer` has to bring an answer to each. They are counted with what else
    /// `crossing` brings to the same thread.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        crossing: &NativeCrossing,
        limit_ms: u32,
        #[napi(
            ts_arg_type = "(question: number, clientHost: string, clientPort: number, serverHost: string, serverPort: number) => void"
        )]
        ask: Function<Question, UnknownReturnValue>,
    ) -> Result<Self> {
        // Weak: an endpoint does not keep the process alive.
        let crossing = crossing.inner.clone();
        let counts = crossing.clone();
        let ask = ask.build_threadsafe_function().weak::<true>().build_callback(
            move |asked: ThreadsafeCallContext<Question>| {
                counts.question_taken();
                Ok(asked.value)
            },
        )?;
        let (next, limit) = (AtomicU32::new(0), length(limit_ms));
        let asked = Asked { ask, limit, next, open: Arc::default(), crossing };
        Ok(NativeConnectionCheck { asked: Arc::new(asked) })
    }

    /// There is no answer to a question in time.
    #[napi(catch_unwind)]
    pub fn late(&self, question: u32) {
        if let Some(Some(waiting)) = self.asked.open.lock().remove(&question) {
            let _ = waiting.send(Err(Unsaid::Late(self.asked.limit)));
        }
    }

    /// The answer to a question; none if nothing can be said.
    #[napi(catch_unwind)]
    pub fn answer(&self, question: u32, is_taken: Option<bool>) {
        match self.asked.open.lock().remove(&question) {
            Some(Some(waiting)) => drop(waiting.send(is_taken.ok_or(Unsaid::Failed))),
            // Nobody waits any more.
            Some(None) => self.asked.crossing.question_late(),
            None => {}
        }
    }
}

/// What comes of a question.
type Said = std::result::Result<bool, Unsaid>;

/// Questions that are not answered, whether somebody still waits or not: as long as they are on their way,
/// they take up memory.
type Open = Mutex<HashMap<u32, Option<oneshot::Sender<Said>>>>;

pub(crate) struct Asked {
    ask: Ask,
    /// How long an answer may take.
    limit: Duration,
    next: AtomicU32,
    open: Arc<Open>,
    /// The way to the thread that is asked.
    crossing: Arc<Crossing>,
}

impl ConnectionCheck for Asked {
    fn check(&self, client: &Address, server: &Address) -> Verdict {
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut open = self.open.lock();
            if open.len() >= MOST_ASKED {
                return Box::pin(std::future::ready(Err(Unsaid::TooMany(MOST_ASKED))));
            }
            open.insert(number, Some(sender));
        }
        let parts = |address: &Address| {
            (address.host().into_owned(), address.port().unwrap_or_default().into())
        };
        let ((client, client_port), (server, server_port)) = (parts(client), parts(server));
        let question = FnArgs::from((number, client, client_port, server, server_port));
        self.crossing.question_asked();
        if self.ask.call(question, ThreadsafeFunctionCallMode::NonBlocking) != Status::Ok {
            self.crossing.question_lost();
            self.open.lock().remove(&number);
        }
        let waiting = Waiting { number, open: self.open.clone() };
        Box::pin(async move {
            let _waiting = waiting;
            answer.await.unwrap_or(Err(Unsaid::Failed))
        })
    }
}

/// Somebody who waits for an answer, until he goes away.
struct Waiting {
    number: u32,
    open: Arc<Open>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiting) = self.open.lock().get_mut(&self.number) {
            *waiting = None;
        }
    }
}
