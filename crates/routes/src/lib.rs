//! Which requests a rule is for, and what it makes of them: matching and rewriting without input and
//! output, and without anything that the network could make slow.
//!
//! [`Path`] is where it begins: two ways of writing one path must never lead to two rules.

mod expression;
mod headers;
mod host;
mod matcher;
mod path;
mod pattern;
mod rewrite;
mod route;
mod template;
#[cfg(test)]
mod tests;

pub use expression::Expression;
pub use headers::HeaderChanges;
pub use host::HostPattern;
pub use matcher::{Asked, HeaderCondition, HeaderValue, Matcher, Scheme};
pub use path::{Path, RefusedPath};
pub use pattern::{InvalidPattern, PathPattern, Segment};
pub use rewrite::Rewrite;
pub use route::{Action, Found, Redirect, Respond, Route, Routes};
pub use template::Template;
