use millrace_message::validate_target;
use millrace_routes::{HostPattern, Path, PathPattern};

/// A pattern, a line end, and a path: no two ways of writing a path lead to two rules.
pub(crate) fn path(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (pattern, path) = (&data[..end], data[end..].strip_prefix(b"\n").unwrap_or(data));
    let pattern = std::str::from_utf8(pattern).unwrap_or_default();
    let (host, pattern) = (HostPattern::new(pattern), PathPattern::new(pattern));
    if let (Ok(host), Ok(name)) = (host, std::str::from_utf8(path)) {
        let _ = (host.matches(name), host.covers(&host));
    }
    // Others have no path, or no parser lets them through.
    if !path.starts_with(b"/") || path.contains(&b'?') || !validate_target(path) {
        return;
    }
    for keeps_slashes in [false, true] {
        let Ok(read) = Path::new(path, keeps_slashes) else { continue };
        assert!(read.written().starts_with(b"/") && validate_target(read.written()));
        let again = Path::new(read.written(), keeps_slashes).expect("what goes upstream is a path");
        assert!(!again.is_changed(), "it is not yet what goes upstream");
        assert_eq!((again.written(), again.decoded()), (read.written(), read.decoded()));
        let mut segments: Vec<_> = read.decoded()[1..].split(|byte| *byte == b'/').collect();
        assert!(!segments.iter().any(|segment| matches!(*segment, b"." | b"..")), "dots are left");
        segments.pop();
        assert!(!segments.contains(&&b""[..]), "an empty segment is left");
        if let Ok(pattern) = &pattern {
            assert_eq!(pattern.matches(&read), pattern.matches(&again));
            assert!(pattern.covers(pattern));
        }
    }
}
