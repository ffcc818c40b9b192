//! The pool of several runtimes, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{LONG, connector, echo, exchange, millis, peer, port, until};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn origin() -> (Runtime, std::net::SocketAddr) {
    let origin = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = origin.block_on(echo());
    (origin, address)
}

#[test]
fn a_shard_keeps_to_itself_until_the_pool_is_full() {
    let (_origin, address) = origin();
    let (one, two) = (runtime(), runtime());
    let (connector, peer) = (connector(2, 2), peer(address));
    let keep = |runtime: &Runtime, shard| {
        runtime.block_on(async {
            let mut connection = connector.connect(shard, &peer).await.unwrap();
            exchange(&mut connection).await;
            let port = port(&connection);
            connector.release(shard, connection, LONG);
            port
        })
    };
    let first = keep(&one, 0);
    assert!(two.block_on(async { connector.take_idle(1, &peer, true) }).is_none());
    let second = keep(&two, 1);
    assert_ne!(first, second);

    // Full: what one has left is taken by two, and works when one is gone.
    let mut taken = two.block_on(connector.connect(1, &peer)).unwrap();
    assert_eq!((port(&taken), taken.shard(), taken.is_reused()), (first, 1, true));
    drop(one);
    two.block_on(exchange(&mut taken));
    connector.release(1, taken, LONG);
    let stats = connector.stats();
    assert_eq!((stats.open, stats.idle, stats.created, stats.reused), (2, 2, 2, 1));
    let _context = two.enter();
    assert!(connector.take_idle(1, &peer, true).is_some());
    assert!(connector.take_idle(1, &peer, true).is_some());
}

#[test]
fn a_full_pool_makes_room_in_another_shard_if_need_be() {
    let (_origin, address) = origin();
    let (one, two) = (runtime(), runtime());
    let (connector, first) = (connector(1, 2), peer(address));
    let bound = millrace_connectors::PeerOptions {
        bind_to: "127.0.0.2".parse().ok(),
        ..Default::default()
    };
    let second = common::peer_with(address, bound);
    one.block_on(async {
        connector.release(0, connector.connect(0, &first).await.unwrap(), LONG);
    });
    two.block_on(async {
        connector.release(1, connector.connect(1, &second).await.unwrap(), LONG);
        assert!(connector.take_idle(1, &second, true).is_some());
    });
    let stats = connector.stats();
    assert_eq!((stats.created, stats.evicted, stats.idle, stats.open), (2, 1, 0, 0));
}

#[test]
fn many_runtimes_at_once_keep_the_bound_and_the_count() {
    const SHARDS: usize = 4;
    const SIZE: usize = 6;
    let (_origin, address) = origin();
    let connector = Arc::new(connector(SIZE, SHARDS));
    let peer = Arc::new(peer(address));
    let threads: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let (connector, peer) = (Arc::clone(&connector), Arc::clone(&peer));
            std::thread::spawn(move || {
                let runtime = runtime();
                runtime.block_on(async {
                    let sweeping = Arc::clone(&connector);
                    tokio::spawn(async move { sweeping.sweep(shard).await });
                    let tasks: Vec<_> = (0..4)
                        .map(|_| {
                            let (connector, peer) = (Arc::clone(&connector), Arc::clone(&peer));
                            tokio::spawn(async move {
                                for round in 0..300 {
                                    let idle = connector.take_idle(shard, &peer, round % 2 == 0);
                                    let mut connection = match idle {
                                        Some(connection) => connection,
                                        None => connector.connect(shard, &peer).await.unwrap(),
                                    };
                                    assert_eq!(connection.shard(), shard);
                                    exchange(&mut connection).await;
                                    connector.release(shard, connection, LONG);
                                    // The one being put is counted before it drives out another.
                                    assert!(connector.stats().idle <= SIZE + SHARDS);
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = connector.stats();
    assert!(stats.idle <= SIZE, "{stats:?}");
    assert_eq!(stats.open, stats.idle);
    assert_eq!(stats.created + stats.reused, (SHARDS * 4 * 300) as u64);
    connector.clear();
    runtime().block_on(async {
        until(&connector, |stats| (stats.open, stats.idle) == (0, 0)).await;
        tokio::time::sleep(millis(1)).await;
    });
}
