//! What clients of HTTP/2 can make the proxy hold: counted in what the whole process has allocated,
//! which is the proxy with its clients and origins.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

#[path = "support/attack.rs"]
mod attack;
mod support;
#[path = "support/told.rs"]
mod told;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use attack::*;
use socket2::SockRef;
use support::frames::*;
use support::h2_client::*;
use support::*;
use told::Told;

const MIB: usize = 1 << 20;

/// Counts the bytes that are allocated, and the most that ever were.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: everything is the system's own allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller of this has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller of this has promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The memory that was taken since this was made. Only one at a time: others would be counted too.
struct Taken {
    before: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Taken {
    fn from_now() -> Taken {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        Taken { before, _alone }
    }

    fn most(&self) -> usize {
        PEAK.load(Ordering::Relaxed).saturating_sub(self.before)
    }

    fn now(&self) -> usize {
        LIVE.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// A client that opens `streams` streams, and is told that they may be large.
fn uploading(proxy: &Proxy, streams: u32) -> Frames {
    let mut client = Frames::connect(proxy.address);
    client.until(Frames::WINDOW_UPDATE);
    client.send(Frames::SETTINGS, 1, 0, &[]);
    for n in 0..streams {
        client.send(Frames::HEADERS, 4, 2 * n + 1, &head("POST"));
    }
    client.wire.stream.set_write_timeout(Some(millis(100))).unwrap();
    client
}

/// Sends `piece` for one stream after the other, `rounds` times, until it is no longer taken.
fn fill(client: &mut Frames, streams: u32, rounds: usize, piece: &[u8]) -> usize {
    let mut sent = 0;
    for _ in 0..rounds {
        for n in 0..streams {
            let mut piece = piece.to_vec();
            piece[5..9].copy_from_slice(&(2 * n + 1).to_be_bytes());
            if client.wire.stream.write_all(&piece).is_err() {
                return sent;
            }
            sent += piece.len();
        }
    }
    sent
}

fn with_unread(bytes: usize) -> ProxyOptions {
    let mut options = ProxyOptions::default();
    options.http2.max_unread_bytes = bytes as u64;
    options
}

#[test]
fn bodies_that_nobody_takes_are_held_up_to_a_bound_for_all() {
    let taken = Taken::from_now();
    let (proxy, _) = pending_but_for_others(with_unread(4 * MIB));
    let data = frame(Frames::DATA, 0, 1, &[b'x'; 16 * 1024]);
    // Eight connections, each of which may send 25 MiB by its windows.
    let mut clients: Vec<Frames> = (0..8).map(|_| uploading(&proxy, 100)).collect();
    let sent: usize = clients.iter_mut().map(|client| fill(client, 100, 15, &data)).sum();
    assert!(sent < 150 * MIB, "all of it was taken: {}", sent / MIB);
    assert!(proxy.app.unread_bytes() >= 4 * MIB as u64);
    let most = taken.most();
    // Twice the bound, and what 800 requests take besides.
    assert!(most < 24 * MIB, "{} MiB", most / MIB);
    // Another client is as well off as if they were not there.
    let start = Instant::now();
    for stream in [1, 3] {
        let mut other = uploading(&proxy, 0);
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a")];
        other.head(stream, 4, &[&fields[..], &[(":path", "/other")]].concat());
        other.wire.send(frame(Frames::DATA, 1, stream, &[b'x'; 1000]));
        assert_eq!(other.told(), Told::Status(200));
    }
    assert!(start.elapsed() < PATIENCE);
    // New requests of those that hold much would be refused; but they are not even read.
    // They leave, which is noticed though nothing is read of them.
    for client in &clients {
        SockRef::from(&client.wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(clients);
    eventually("all is given back", || proxy.app.unread_bytes() == 0);
}

#[test]
fn a_client_that_is_not_read_from_and_holds_all_it_has_is_cut_in_the_end() {
    let taken = Taken::from_now();
    let mut options = with_unread(0);
    options.http2.ping_interval = Some(millis(300));
    options.http2.ping_timeout = millis(300);
    let (proxy, _) = pending_but_for_others(options);
    let mut client = uploading(&proxy, 1);
    fill(&mut client, 1, 15, &frame(Frames::DATA, 0, 1, &[b'x'; 16 * 1024]));
    eventually("it is cut", || proxy.counters().open() == 0);
    assert_eq!(proxy.app.unread_bytes(), 0);
    drop(taken);
}

#[test]
fn small_pieces_count_for_the_buffers_that_they_lie_in() {
    let taken = Taken::from_now();
    let (proxy, _) = pending_but_for_others(with_unread(2 * MIB));
    let mut client = uploading(&proxy, 1);
    // One byte that is kept among thousands that are not.
    let pieces = [frame(Frames::DATA, 0, 1, b"x"), frame(0xfe, 0, 0, &[0; 8000])].concat();
    let sent = fill(&mut client, 1, 5000, &pieces);
    assert!(sent < 30 * MIB, "all of it was taken: {}", sent / MIB);
    let most = taken.most();
    assert!(most < 12 * MIB, "{} MiB", most / MIB);
}

#[test]
fn large_heads_of_few_bytes_are_held_up_to_a_bound_for_all() {
    let taken = Taken::from_now();
    let (proxy, begun) = pending_but_for_others(with_unread(4 * MIB));
    let mut refused = 0;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Frames::connect(proxy.address);
        let mut bytes = Vec::new();
        for n in 0..100 {
            let mut block = head("GET");
            if n == 0 {
                // Goes into the table, and is only named from then on.
                block.extend([0x40, 1, b'x', 127]);
                block.extend([(3900 - 127) as u8 % 128 + 128, ((3900 - 127) / 128) as u8]);
                block.extend([b'y'; 3900]);
            }
            block.extend([0xbe; 15]);
            bytes.extend(frame(Frames::HEADERS, 5, 2 * n + 1, &block));
        }
        client.wire.send(&bytes);
        client.send(Frames::PING, 0, 0, &[0; 8]);
        clients.push(client);
    }
    // Up to 50 MiB by 16 KiB of frames from each. A client that holds much is not read from, but
    // what was read at once had to be refused.
    eventually("it is full", || proxy.app.unread_bytes() > 4 * MIB as u64);
    let mut other = proxy.client();
    for _ in 0..100 {
        assert_eq!(other.ask("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        let held = proxy.app.unread_bytes();
        // Twice the bound, and a request of each.
        assert!(held < 9 * MIB as u64, "{held}");
    }
    assert!(begun.load(Ordering::SeqCst) < 200);
    let most = taken.most();
    assert!(most < 40 * MIB, "{} MiB", most / MIB);
    for mut client in clients {
        let _ = client.wire.stream.shutdown(std::net::Shutdown::Write);
        for frame in client.rest() {
            if frame.kind == Frames::RST_STREAM {
                refused += usize::from(frame.code() == Frames::REFUSED_STREAM);
            }
        }
    }
    assert!(refused > 0);
    eventually("all is given back", || proxy.app.unread_bytes() == 0);
}

#[test]
fn an_upload_that_had_to_wait_goes_on_and_arrives_whole() {
    let taken = Taken::from_now();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let origin = Origin::new(move |_, mut wire| {
        let head = wire.head();
        may_go.lock().unwrap().recv().unwrap();
        let (body, _) = wire.try_body(&head).unwrap();
        assert!(body.iter().enumerate().all(|(n, byte)| *byte == (n / 1000) as u8));
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Got: {}\r\n\r\n", body.len()));
    });
    // Far less than a stream's window, so that it is not the window that it waits for. The origin
    // does not read at first, whose system takes some of it all the same.
    let proxy = Proxy::new(TestPhases::to(origin.address), with_unread(0));
    let body: Vec<u8> = (0..16 * MIB).map(|n| (n / 1000) as u8).collect();
    let address = proxy.address;
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            client.block_on(async {
                let mut client = H2Client::connect(address).await;
                client.ask(request("POST", "/", &[]), &body).await
            })
        });
        eventually("it waits", || proxy.app.unread_bytes() > 16 * 1024);
        let held = proxy.app.unread_bytes();
        assert!(held < 100 * 1024, "{held}");
        go.send(()).unwrap();
        let reply = asking.join().unwrap();
        assert_eq!(reply.field("x-got"), Some(&*(16 * MIB).to_string()));
    });
    let logged = proxy.logged();
    assert_eq!((logged.code, logged.received > 16 * MIB as u64), (None, true));
    eventually("all is given back", || proxy.app.unread_bytes() == 0);
    drop(taken);
}

#[test]
fn answers_that_nobody_takes_are_held_up_to_a_bound_and_then_given_up() {
    let taken = Taken::from_now();
    const STREAMS: u32 = 100;
    const CONNECTIONS: usize = 3;
    let answer =
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n"[..], &[b'y'; 8 * MIB]].concat();
    let origin = Origin::says(&answer);
    let options = ProxyOptions { write_timeout: Some(millis(1500)), ..ProxyOptions::default() };
    let proxy = Proxy::new(TestPhases::to(origin.address), options);
    let before = taken.now();
    // Windows that are closed from the start, and such that close when they are half used up.
    let mut clients = Vec::new();
    for window in [0, 30_000, 65_535].into_iter().take(CONNECTIONS) {
        let mut client = Frames::with_settings(proxy.address, &[(4, window)]);
        for n in 0..STREAMS {
            client.get(2 * n + 1, "/", &[]);
        }
        clients.push(client);
    }
    for client in &mut clients {
        let (mut heads, mut resets) = (0, 0);
        while heads < STREAMS || resets < STREAMS {
            let frame = client.try_next().unwrap();
            heads += u32::from(frame.kind == Frames::HEADERS);
            if frame.kind == Frames::RST_STREAM {
                assert_eq!(frame.code(), Frames::CANCEL);
                resets += 1;
            }
        }
    }
    // What each stream, its task and its connection to the origin have taken.
    let each = taken.most().saturating_sub(before) / (STREAMS as usize * CONNECTIONS);
    assert!(each < 400 * 1024, "{} KiB", each / 1024);
    for _ in 0..STREAMS as usize * CONNECTIONS {
        assert_eq!(proxy.logged().code, Some(Code::WriteTimeout));
    }
    assert_eq!(proxy.counters().open(), CONNECTIONS);
}

#[test]
fn a_client_that_never_reads_takes_bounded_memory_and_is_cut() {
    let taken = Taken::from_now();
    let mut answer = Answer::plain(200);
    answer.body = vec![b'y'; 60_000].into();
    let mut options = ProxyOptions { write_timeout: Some(millis(500)), ..ProxyOptions::default() };
    // It is not for its silence that it has to go.
    options.http2.ping_interval = None;
    let proxy = Proxy::new(TestPhases::answering(answer), options);
    let mut client = Frames::with_settings(proxy.address, &[(4, 1 << 20)]);
    client.send(Frames::WINDOW_UPDATE, 0, 0, &0x3fff_ffff_u32.to_be_bytes());
    for n in 0..100 {
        client.send(Frames::HEADERS, 5, 2 * n + 1, &head("GET"));
    }
    // All are answered as far as it takes to log them; the answers wait in `h2` for the socket.
    for _ in 0..100 {
        assert_eq!(proxy.logged().code, None);
    }
    let logged = proxy.logged();
    assert_eq!((logged.code, &*logged.target), (Some(Code::WriteTimeout), "-"));
    eventually("it is cut", || proxy.counters().open() == 0);
    // The send buffers of a hundred streams, and what `h2` has put into one piece.
    assert!(taken.most() < 24 * MIB, "{} MiB", taken.most() / MIB);
}
