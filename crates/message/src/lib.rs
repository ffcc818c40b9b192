//! Heads of HTTP messages and the rules that every version of HTTP shares. No input or output.
//!
//! [`Fields`] keeps a head's fields in one arena, in the order and the case they came in.
//! [`RequestHead`] and [`ResponseHead`] add the first line; the functions beside them hold what
//! RFC 9110 asks of a proxy: which fields end at this hop, which host a request is for.

mod authority;
mod connection;
mod fields;
mod forwarding;
mod head;
mod host;
mod list;
mod method;
mod status;
mod syntax;
mod target;
mod trailers;
mod upgrade;
mod version;

pub use authority::{Authority, split_authority, validate_host};
pub use connection::{ConnectionOptions, connection_options, is_persistent, strip_hop_by_hop};
pub use fields::{Fields, InvalidField};
pub use forwarding::{forwarding_suffix, is_forwarding};
pub use head::{RequestHead, ResponseHead};
pub use host::check_host;
pub use list::{has_token, list_items};
pub use method::Method;
pub use status::standard_reason;
pub use syntax::{validate_name, validate_reason, validate_target, validate_value};
pub use target::TargetForm;
pub use trailers::allowed_in_trailers;
pub use upgrade::{accepts_upgrade, requested_upgrade};
pub use version::Version;
