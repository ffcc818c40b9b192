//! The phases, the pipeline that calls them, and the HTTP server app that runs it.
//!
//! [`ProxyHttp`] is what a proxy implements, [`HttpProxy`] what serves it. It is one [`HttpServerApp`]
//! among others, which are given requests, and that one app among others that are given connections. The way of a request is
//! one function, read from top to bottom in `pipeline.rs`; what it reads from and writes to is a
//! [`Downstream`], so that every version of HTTP shares it.

mod answer;
mod app;
mod client;
mod date;
mod downstream;
mod exchange;
mod feed;
mod filter;
mod forwarding;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod h1;
mod h2;
mod interim;
mod kept;
mod max_forwards;
mod options;
mod phases;
mod pieces;
mod pipeline;
mod preface;
mod relay;
mod request_body;
mod respond;
mod routing;
mod serving;
mod stall;
mod stats;
mod subrequest;
mod timer;
mod tries;
mod tunnel;
mod upload;
mod upstream;
mod upstream_head;
mod wire;

pub use answer::Answer;
pub use app::{Arrival, HttpProxy};
pub use client::HttpClient;
pub use downstream::{Body, BodyRest, BodySize, Downstream};
pub use exchange::{Exchange, Timings, UpstreamInfo};
pub use feed::{BodyFeed, FeedBody};
pub use filter::{BodyFilter, Filtered, Filtering};
pub use forwarding::{ClientConnection, ForwardingOptions, InvalidNetwork, Networks, TrustedField};
pub use h2::Http2Options;
pub use interim::{InterimSender, Interims};
pub use options::ProxyOptions;
pub use phases::{Decision, ProxyHttp};
pub use pieces::{RequestPiece, RequestPieces};
pub use request_body::RequestBody;
pub use respond::respond;
pub use routing::Routing;
pub use serving::{HttpServer, HttpServerApp, HttpServing, serve_http};
pub use stats::{RequestStats, Stage};
pub use subrequest::{Subrequest, Subresponse};
