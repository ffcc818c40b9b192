//! Connections of apps: offered through the crossing, and then read and written one by one.

use std::sync::Arc;

use millrace_server::ConnInfo;
use millrace_tcp::{StreamApp, StreamHandle};
use millrace_transport::TlsInfo;
use napi::bindgen_prelude::{Buffer, Error, Object, Result};
use napi::{Env, Status};
use napi_derive::napi;

use crate::crossing::{Crossing, NativeCrossing};
use crate::pieces::NativePiece;
use crate::tls::NativeTlsInfo;

/// Gives connections to the app of this number.
pub(crate) struct JsStreams {
    pub(crate) crossing: Arc<Crossing>,
    pub(crate) app: u32,
    pub(crate) max_queued: usize,
}

impl StreamApp for JsStreams {
    fn accept(&self, conn: &ConnInfo, handle: StreamHandle) -> bool {
        self.crossing.offer(self.app, conn, handle, self.max_queued)
    }
}

/// A connection of an app.
#[napi]
pub struct NativeStream {
    handle: StreamHandle,
    tls: Option<Arc<TlsInfo>>,
}

#[napi]
impl NativeStream {
    /// Takes a connection that was offered. @throws where somebody has
    #[napi(constructor, catch_unwind)]
    pub fn new(crossing: &NativeCrossing, id: f64) -> Result<Self> {
        let taken = crossing.inner.take_stream(id as u64);
        let gone = || Error::new(Status::GenericFailure, "the connection is gone");
        let (handle, tls) = taken.ok_or_else(gone)?;
        Ok(NativeStream { handle, tls })
    }

    /// The next bytes. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn read<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        self.handle.read(move |outcome| {
            deferred.resolve(move |_| Ok(NativePiece::from(outcome)));
        });
        Ok(promise)
    }

    /// Writes bytes. False asks to wait for `room` before more is written.
    #[napi(catch_unwind)]
    pub fn write(&self, data: Buffer) -> bool {
        self.handle.write(&data)
    }

    /// Settles when more may be written. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn room<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        done(env, |then| self.handle.room(then))
    }

    /// Ends this side. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn end<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        done(env, |then| self.handle.end(then))
    }

    /// Settles when the connection is over, with an error where that was not our doing. Never rejects.
    #[napi(catch_unwind, ts_return_type = "Promise<NativePiece>")]
    pub fn ended<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        done(env, |then| self.handle.when_ended(then))
    }

    /// Settles when the server begins to close, with true; with false where the connection has
    /// ended before.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn draining<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred()?;
        self.handle.when_draining(move |draining| deferred.resolve(move |_| Ok(draining)));
        Ok(promise)
    }

    /// Ends it: by a reset at once, or when what was written has gone out.
    #[napi(catch_unwind)]
    pub fn destroy(&self, reset: bool) {
        if reset {
            self.handle.abort();
        } else {
            self.handle.close_now();
        }
    }

    /// What its handshake came to; none in the clear.
    #[napi(catch_unwind)]
    pub fn tls(&self) -> Option<NativeTlsInfo> {
        self.tls.as_ref().map(|info| NativeTlsInfo::from(&**info))
    }
}

type Then = Box<dyn FnOnce(millrace_error::Result<()>) + Send>;

/// A promise of what comes of something that has no bytes to give.
fn done<'env>(env: &'env Env, ask: impl FnOnce(Then)) -> Result<Object<'env>> {
    let (deferred, promise) = env.create_deferred()?;
    ask(Box::new(move |outcome| deferred.resolve(move |_| Ok(NativePiece::done(outcome)))));
    Ok(promise)
}

/// Nobody can use it any more.
impl Drop for NativeStream {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
