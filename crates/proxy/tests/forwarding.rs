//! What origins are told of who a request comes from, and what clients cannot make them believe.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::{Receiver, channel};

use millrace_listeners::Endpoint;
use millrace_proxy::{ForwardingOptions, Networks, TrustedField};
use support::h2_client::{H2Client, request};
use support::*;

fn trusting(networks: &[&str]) -> ForwardingOptions {
    let mut trusted = Networks::default();
    for network in networks {
        trusted.add(network).unwrap();
    }
    ForwardingOptions { trusted, ..ForwardingOptions::default() }
}

/// A proxy to an origin that echoes, and the clients it found.
fn proxy(forwarding: ForwardingOptions, endpoint: Endpoint) -> (Proxy, Receiver<String>) {
    let mut phases = TestPhases::to(Origin::echoes().address);
    let (found, clients) = channel();
    phases.logging = Some(Box::new(move |ex| found.send(ex.client.to_string()).unwrap()));
    let options = ProxyOptions { forwarding, ..ProxyOptions::default() };
    (Proxy::start(phases, options, 1, endpoint), clients)
}

/// The fields of this kind that the origin got, in order, and the client that was found.
fn seen(forwarding: ForwardingOptions, fields: &str) -> (Vec<String>, String) {
    let (proxy, clients) = proxy(forwarding, Proxy::endpoint());
    let request = format!("GET /x HTTP/1.1\r\nHost: a.example:81\r\n{fields}\r\n");
    let response = proxy.client().ask(request);
    assert_eq!(response.status, 200);
    let client = clients.recv_timeout(PATIENCE).unwrap();
    (told(response.text()), client)
}

/// The fields of an echoed request that are of interest here.
fn told(text: &str) -> Vec<String> {
    let is_told = |line: &&str| {
        let name = line.split(':').next().unwrap().to_ascii_lowercase().replace('_', "-");
        name.starts_with("x-forwarded-") || ["forwarded", "via", "x-real-ip"].contains(&&*name)
    };
    text.split("\r\n").skip(1).filter(is_told).map(str::to_owned).collect()
}

const SPOOFED: &str = "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 10.0.0.1\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 1.1.1.1\r\n\
    X_Forwarded_For: 1.1.1.1\r\nx-forwarded_host: evil\r\nX_Real_IP: 1.1.1.1\r\n\
    Forwarded: for=1.1.1.1;proto=https\r\nforwarded: for=10.0.0.1\r\n";

#[test]
fn what_a_client_claims_is_replaced() {
    let (told, client) = seen(ForwardingOptions::default(), SPOOFED);
    let expected =
        ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: a.example:81"];
    assert_eq!(told, expected);
    assert!(client.starts_with("127.0.0.1:") && !client.ends_with(":0"), "{client}");
    // As long as the socket's address is not trusted, nothing in the fields makes it so.
    assert_eq!(seen(trusting(&["10.0.0.0/8", "unix"]), SPOOFED).0, expected);
}

#[test]
fn what_a_client_claims_is_taken_out_where_nothing_takes_its_place() {
    let off = ForwardingOptions { x_forwarded: false, ..ForwardingOptions::default() };
    assert_eq!(seen(off, SPOOFED).0, [""; 0]);
}

#[test]
fn connection_cannot_take_out_what_the_proxy_says() {
    let fields = "Connection: X-Forwarded-For, x-forwarded-proto, close, forwarded, via\r\n";
    let options = ForwardingOptions { forwarded: true, via: Some("me".into()), ..trusting(&[]) };
    let expected = [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: a.example:81",
        "forwarded: for=127.0.0.1;host=\"a.example:81\";proto=http",
        "via: 1.1 me",
    ];
    assert_eq!(seen(options, fields).0, expected);
}

#[test]
fn behind_trusted_proxies_the_list_is_walked_from_the_right_and_added_to() {
    let x = "x-forwarded-for";
    let table = [
        // The client's own claim stands left of what the first trusted proxy has seen.
        ("6.6.6.6, 203.0.113.7, 10.0.0.9", "203.0.113.7, 10.0.0.9, 127.0.0.1", "203.0.113.7:0"),
        ("203.0.113.7", "203.0.113.7, 127.0.0.1", "203.0.113.7:0"),
        ("203.0.113.7:4711,10.0.0.9", "203.0.113.7, 10.0.0.9, 127.0.0.1", "203.0.113.7:4711"),
        ("[2001:db8::1]:99", "2001:db8::1, 127.0.0.1", "[2001:db8::1]:99"),
        ("2001:db8::1, ::ffff:10.0.0.9", "2001:db8::1, 10.0.0.9, 127.0.0.1", "[2001:db8::1]:0"),
        // All trusted: the farthest is the client.
        ("10.0.0.1, 10.0.0.2", "10.0.0.1, 10.0.0.2, 127.0.0.1", "10.0.0.1:0"),
        // What is no address ends the walk at the last that was one.
        ("1.2.3.4, junk, 10.0.0.9", "10.0.0.9, 127.0.0.1", "10.0.0.9:0"),
        ("1.2.3.4, unknown", "127.0.0.1", ""),
        ("\"1.2.3.4\"", "127.0.0.1", ""),
        (",, 203.0.113.7 ,,", "203.0.113.7, 127.0.0.1", "203.0.113.7:0"),
        ("", "127.0.0.1", ""),
    ];
    for (claimed, list, client) in table {
        let options = trusting(&["10.0.0.0/8", "loopback"]);
        let (told, found) = seen(options, &format!("{x}: {claimed}\r\n"));
        assert_eq!(told[0], format!("{x}: {list}"), "{claimed}");
        // No name: the socket's own address.
        let expected = if client.is_empty() { "127.0.0.1:" } else { client };
        assert!(found.starts_with(expected), "{claimed}: {found}");
        assert_eq!(found == client, !client.is_empty(), "{claimed}: {found}");
    }
}

#[test]
fn several_lines_are_one_list() {
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Other: 1\r\nx-forwarded-for: 203.0.113.7\r\n\
        X-FORWARDED-FOR: 10.0.0.1, 10.0.0.2\r\n";
    let (told, client) = seen(trusting(&["127.0.0.1", "10.0.0.0/30"]), fields);
    assert_eq!(told[0], "x-forwarded-for: 203.0.113.7, 10.0.0.1, 10.0.0.2, 127.0.0.1");
    assert_eq!((told.len(), client.as_str()), (3, "203.0.113.7:0"));
}

#[test]
fn a_list_without_end_is_not_followed_without_end() {
    let fields = format!("X-Forwarded-For: {}\r\n", "10.0.0.1,".repeat(5_000));
    let (told, client) = seen(trusting(&["loopback", "private"]), &fields);
    assert_eq!((told[0].matches("10.0.0.1").count(), client.as_str()), (64, "10.0.0.1:0"));
}

#[test]
fn scheme_and_host_of_a_trusted_proxy_go_on_if_they_are_ones() {
    let options = || trusting(&["loopback"]);
    let fields = "X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: shop.example\r\n\
        X-Forwarded-Port: 443\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=6.6.6.6\r\n";
    let told = seen(options(), fields).0;
    let expected = [
        "X-Forwarded-Port: 443",
        "X-Real-IP: 9.9.9.9",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: shop.example",
    ];
    assert_eq!(told, expected);
    // Of several, what the nearest has said.
    let fields = "X-Forwarded-Proto: https, http\r\nX-Forwarded-Host: evil, good.example\r\n";
    assert_eq!(
        seen(options(), fields).0[1..],
        ["x-forwarded-proto: http", "x-forwarded-host: good.example"]
    );
    for bad in ["X-Forwarded-Proto: a b\r\n", "X-Forwarded-Host: u@a/b\r\nX-Forwarded-Proto: 1\r\n"]
    {
        let told = seen(options(), bad).0;
        assert_eq!(
            told[1..],
            ["x-forwarded-proto: http", "x-forwarded-host: a.example:81"],
            "{bad}"
        );
    }
}

#[test]
fn forwarded_is_believed_only_where_it_is_said_to_be() {
    let options = || ForwardingOptions {
        trusted_field: TrustedField::Forwarded,
        forwarded: true,
        ..trusting(&["loopback", "10.0.0.0/8", "fd00::/8"])
    };
    let own = "for=127.0.0.1;host=\"a.example:81\";proto=http";
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 6\r\n\
        Forwarded: for=7.7.7.7, for=\"[2001:db8::7]:4711\";proto=https;host=shop.example\r\n\
        Forwarded: for=\"[fd00::1]\", For=\"10.0.0.9:80\";by=_x\r\n";
    let (told, client) = seen(options(), fields);
    let expected = [
        "x-forwarded-for: 2001:db8::7, fd00::1, 10.0.0.9, 127.0.0.1".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        "x-forwarded-host: shop.example".to_owned(),
        format!(
            "forwarded: for=\"[2001:db8::7]:4711\";proto=https;host=shop.example, for=\"[fd00::1]\", \
             For=\"10.0.0.9:80\";by=_x, {own}"
        ),
    ];
    assert_eq!((told.as_slice(), client.as_str()), (&expected[..], "[2001:db8::7]:4711"));
    for (said, kept) in [
        // A client's open quote hides nothing of what its proxy says.
        ("for=\"evil, for=203.0.113.7", "for=203.0.113.7, "),
        ("for=evil\", for=\"203.0.113.7:1\"", "for=\"203.0.113.7:1\", "),
        ("for=6.6.6.6, for=unknown, for=10.0.0.9", "for=10.0.0.9, "),
        ("for=6.6.6.6, for=_hidden;proto=http", ""),
        ("for=1.2.3.4;for=5.6.7.8", ""),
        ("for=6.6.6.6 for=10.0.0.1", ""),
    ] {
        let (told, _) = seen(options(), &format!("Forwarded: {said}\r\n"));
        assert_eq!(told[3], format!("forwarded: {kept}{own}"), "{said}");
    }
}

#[test]
fn forwarded_is_made_of_the_list_of_addresses_too() {
    let options = ForwardingOptions {
        forwarded: true,
        x_forwarded: false,
        ..trusting(&["loopback", "10.0.0.0/8"])
    };
    let fields = "X-Forwarded-For: 2001:db8::7, 10.0.0.9\r\nX-Forwarded-Proto: https\r\n";
    let expected = "forwarded: for=\"[2001:db8::7]\";proto=https, for=10.0.0.9, \
        for=127.0.0.1;host=\"a.example:81\";proto=http";
    assert_eq!(seen(options, fields).0, [expected]);
}

#[test]
fn an_ipv4_client_of_a_socket_for_both_families_is_one_of_ipv4() {
    let endpoint = Endpoint::tcp("[::]:0".parse().unwrap());
    let (proxy, _clients) = proxy(trusting(&["127.0.0.1/32"]), endpoint);
    let address = std::net::SocketAddr::new([127, 0, 0, 1].into(), proxy.address.port());
    let fields = "X-Forwarded-For: ::ffff:203.0.113.7\r\n";
    let response = Wire::connect(address).ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(told(response.text())[0], "x-forwarded-for: 203.0.113.7, 127.0.0.1");
}

#[test]
fn via_is_added_both_ways_with_the_version_that_came() {
    let origin = Origin::says("HTTP/1.0 200 OK\r\nVia: 1.1 cache\r\nContent-Length: 0\r\n\r\n");
    let via = || ForwardingOptions { via: Some("edge".into()), ..trusting(&[]) };
    let options = ProxyOptions { forwarding: via(), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let response = proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.field("via"), Some("1.1 cache, 1.0 edge"));
    let (told, _) = seen(via(), "Via: 1.0 fred\r\nVia: 2 p.example\r\n");
    assert_eq!(told[3..], ["via: 1.0 fred, 2 p.example, 1.1 edge"]);
    // Nothing is added unless it is asked for.
    assert_eq!(seen(trusting(&[]), "Via: 1.0 fred\r\n").0[0], "Via: 1.0 fred");
}

#[test]
fn clients_of_http2_are_told_of_in_the_same_way() {
    let forwarding =
        ForwardingOptions { forwarded: true, via: Some("edge".into()), ..trusting(&["loopback"]) };
    let (proxy, clients) = proxy(forwarding, Proxy::endpoint());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut client = H2Client::connect(proxy.address).await;
        let fields = ["6.6.6.6, 203.0.113.7", "127.0.0.9"].map(|value| ("x-forwarded-for", value));
        let asked = request("GET", "/x", &fields);
        let response = client.ask(asked, b"").await;
        let told = told(&String::from_utf8_lossy(&response.body));
        assert_eq!(told[0], "x-forwarded-for: 203.0.113.7, 127.0.0.9, 127.0.0.1");
        assert_eq!((told.len(), told[4].as_str()), (5, "via: 2 edge"));
    });
    assert_eq!(clients.recv_timeout(PATIENCE).unwrap(), "203.0.113.7:0");
}

#[test]
fn phases_see_it_and_may_change_it() {
    let mut phases = TestPhases::to(Origin::echoes().address);
    phases.upstream_request = Some(Box::new(|head| {
        assert_eq!(head.fields.get("x-forwarded-for"), Some(&b"127.0.0.1"[..]));
        head.fields.set("x-forwarded-for", "192.0.2.1").unwrap();
        head.fields.remove("x-forwarded-host");
    }));
    let proxy = Proxy::start(phases, ProxyOptions::default(), 1, Proxy::endpoint());
    let response = proxy.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(told(response.text()), ["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http"]);
}
