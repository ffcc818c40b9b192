//! Writes the certificates of `__test__/certs` anew:
//!
//!     cargo run -p millrace-test-certs --example write -- __test__/certs

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use millrace_test_certs::{Authority, Issued, self_signed};

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "__test__/certs".to_owned());
    let write = |name: &str, Issued { cert_pem, key_pem }: Issued| {
        std::fs::write(Path::new(&folder).join(format!("{name}.pem")), cert_pem).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.key")), key_pem).unwrap();
    };
    let (ca, other) = (Authority::new("an authority"), Authority::new("another authority"));
    std::fs::write(Path::new(&folder).join("ca.pem"), &ca.ca_pem).unwrap();
    write("localhost", ca.issue(&["localhost", "127.0.0.1", "::1"]));
    write("example", ca.issue(&["example.test", "www.example.test"]));
    write("wildcard", ca.issue(&["*.wild.test"]));
    write("client", ca.issue_through("between", &["client.test"]));
    write("expired", ca.issue_for(&["localhost"], (2020, 2021)));
    write("stranger", other.issue(&["localhost", "client.test"]));
    write("self-signed", self_signed(&["localhost", "127.0.0.1"]));
}
