use std::sync::Arc;

use millrace_demo_origin::DemoOrigin;
use millrace_listeners::Endpoint;
use millrace_server::{
    BackgroundOptions, BackgroundService, ClientLimit, Endpoints, ListeningService, RuntimeOptions,
    ServerApp, Service,
};
use millrace_tcp::{StreamServer, TcpProxy};
use napi::bindgen_prelude::Float64Array;

use super::stats::NativePoolStats;
use crate::app::ProxyApp;
use crate::background::JsWork;
use crate::streams::JsStreams;
use crate::tcp::NativeTraffic;

/// A service until it starts, and what can be read of it afterwards.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) app: App,
    pub(super) runtime: RuntimeOptions,
    pub(super) max_connections: usize,
    pub(super) client_limit: Option<ClientLimit>,
    pub(super) endpoints: Vec<Endpoint>,
    /// What changes its endpoints once it runs.
    pub(super) running: Option<Endpoints>,
}

/// The app of a service.
pub(super) enum App {
    Proxy(Arc<ProxyApp>),
    Origin(Arc<DemoOrigin>),
    TcpProxy(Arc<TcpProxy>),
    Streams(Arc<StreamServer<JsStreams>>),
    Background(Arc<JsWork>, BackgroundOptions),
}

impl Planned {
    pub(super) fn service(&mut self) -> Box<dyn Service> {
        match &self.app {
            App::Proxy(app) => self.serving(app.clone()),
            App::Origin(app) => self.serving(app.clone()),
            App::TcpProxy(app) => self.serving(app.clone()),
            App::Streams(app) => self.serving(app.clone()),
            App::Background(work, options) => {
                let name = self.name.clone();
                Box::new(BackgroundService::new(name, work.clone(), options.clone()))
            }
        }
    }

    fn serving<A: ServerApp>(&mut self, app: Arc<A>) -> Box<dyn Service> {
        let (name, endpoints) = (self.name.clone(), self.endpoints.clone());
        let service = ListeningService::new(name, app, endpoints, self.runtime.clone())
            .max_connections(Some(self.max_connections))
            .client_limit(self.client_limit);
        self.running = Some(service.endpoints());
        Box::new(service)
    }

    pub(super) fn requests(&self) -> Option<Float64Array> {
        let App::Proxy(app) = &self.app else { return None };
        let stats = app.proxy.stats();
        let first = std::iter::once(stats.total).chain(stats.active).chain(stats.ended);
        let all = first.chain([stats.retries, stats.retried_timeouts]).chain(stats.errors);
        Some(Float64Array::new(all.map(|count| count as f64).collect()))
    }

    pub(super) fn pool(&self) -> NativePoolStats {
        match &self.app {
            App::Proxy(app) => app.proxy.connector().stats().into(),
            App::TcpProxy(app) => app.connector().stats().into(),
            App::Origin(_) | App::Streams(_) | App::Background(..) => NativePoolStats::default(),
        }
    }

    pub(super) fn traffic(&self) -> Option<NativeTraffic> {
        match &self.app {
            App::TcpProxy(app) => Some(app.traffic().into()),
            App::Streams(app) => Some(app.traffic().into()),
            App::Proxy(_) | App::Origin(_) | App::Background(..) => None,
        }
    }
}
