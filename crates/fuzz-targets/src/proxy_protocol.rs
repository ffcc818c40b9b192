use millrace_proxy_protocol::{LONGEST, Version, missing, parse, write};

use crate::cuts::Cuts;

/// A header in front of a connection: nothing behind it is read, no more than is allowed is, where it is cut
/// does not matter, and what it says can be said again.
pub(crate) fn proxy_protocol(data: &[u8]) {
    let (mut cuts, bytes) = Cuts::of(data);
    let whole = parse(bytes);
    let mut have = 0;
    let said = loop {
        let most = missing(&bytes[..have]);
        assert!(most > 0 && have + most <= LONGEST);
        if have == bytes.len() {
            assert_eq!(whole, Ok(None));
            return;
        }
        have += cuts.next(bytes.len() - have).min(most);
        match parse(&bytes[..have]) {
            Ok(None) => {}
            Ok(Some((said, length))) => {
                assert_eq!(have, length, "a byte behind the header was read");
                assert_eq!(whole, Ok(Some((said.clone(), length))));
                break said;
            }
            Err(error) => {
                assert_eq!(whole, Err(error));
                return;
            }
        }
    };
    let again = write(Version::V2, said.as_ref());
    assert_eq!(parse(&again), Ok(Some((said.clone(), again.len()))));
    let line = write(Version::V1, said.as_ref());
    let expected = said.filter(|ends| ends.client.ip().is_some());
    assert_eq!(parse(&line), Ok(Some((expected, line.len()))));
}
