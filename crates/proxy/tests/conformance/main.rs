//! Ambiguous and malformed messages of HTTP/1, as tables: `requests/` and `responses/` hold the rows,
//! a file for each theme, in the form that `table.rs` describes. Each message is sent raw through a
//! proxy; what comes out at the other side is read by a reader stricter than the RFC, and somebody
//! else's request behind it has to get its own answer.

#![allow(clippy::unwrap_used, clippy::panic)]

mod advisories;
mod pieces;
mod recorder;
mod requests;
mod responses;
mod strict;
#[path = "../support/mod.rs"]
mod support;
mod table;

/// A test for each file of a folder.
macro_rules! tables {
    ($side:ident: $($theme:ident)+) => {
        mod $side {
            $(
                #[test]
                fn $theme() {
                    crate::$side::run(concat!(stringify!($side), "/", stringify!($theme), ".txt"));
                }
            )+

            #[test]
            fn every_table_is_run() {
                crate::table::every_file_is_named(stringify!($side), &[$(stringify!($theme)),+]);
            }
        }
    };
}

mod tables {
    tables!(requests: lengths codings chunks line_ends names values hosts targets start_lines
        versions upgrades expectations connection trailers sizes behind);
    tables!(responses: lengths codings chunks heads status_lines bodiless interim unasked);
}
