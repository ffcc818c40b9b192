//! What an idle stream tells about its other side, over real sockets.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use millrace_transport::{Quiet, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

async fn tcp() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    (client.unwrap().into(), accepted.unwrap().0.into())
}

fn unix() -> (Stream, Stream) {
    let (one, two) = UnixStream::pair().unwrap();
    (one.into(), two.into())
}

/// Lets the driver hand out what has come in.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn tells_all_three((mut near, mut far): (Stream, Stream)) {
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Alive, Quiet::Alive));
    assert!(!near.is_read_closed());

    far.write_all(b"x").await.unwrap();
    settle().await;
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Data, Quiet::Data));
    assert!(!near.is_read_closed());

    drop(far);
    settle().await;
    assert_eq!(near.is_quiet(), Quiet::Data, "the unread byte hides the end from a peek");
    assert!(near.is_read_closed(), "and does not hide it from the driver");

    assert_eq!(near.read_u8().await.unwrap(), b'x');
    assert_eq!((near.is_quiet(), near.try_quiet()), (Quiet::Closed, Quiet::Closed));
}

#[tokio::test]
async fn tcp_tells_alive_data_and_closed() {
    tells_all_three(tcp().await).await;
}

#[tokio::test]
async fn unix_tells_alive_data_and_closed() {
    tells_all_three(unix()).await;
}

#[tokio::test]
async fn a_read_leaves_cached_readiness_quiet() {
    let (mut near, mut far) = tcp().await;
    far.write_all(b"answer").await.unwrap();
    let mut buf = [0; 64];
    assert_eq!(near.read(&mut buf).await.unwrap(), 6);
    assert_eq!(near.try_quiet(), Quiet::Alive);
    drop(far);
    settle().await;
    assert_eq!(near.try_quiet(), Quiet::Closed);
}

#[tokio::test]
async fn a_reset_is_seen_as_closed() {
    let (mut near, mut far) = tcp().await;
    far.reset_on_drop().unwrap();
    drop(far);
    settle().await;
    assert!(near.is_read_closed());
    assert_eq!(near.is_quiet(), Quiet::Closed);
}

#[test]
fn a_stream_moves_to_another_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (near, mut far) = first.block_on(tcp());
    let near = first.block_on(async { near.into_std().unwrap() });
    second.block_on(async {
        let mut near = Stream::from_std(near).unwrap();
        near.write_all(b"moved").await.unwrap();
    });
    let mut buf = [0; 5];
    first.block_on(far.read_exact(&mut buf)).unwrap();
    assert_eq!(&buf, b"moved");
}

#[tokio::test]
async fn addresses_name_both_ends() {
    let (near, far) = tcp().await;
    assert_eq!(near.local_address().unwrap(), far.remote_address().unwrap());
    near.set_nodelay(true).unwrap();
    near.set_keepalive(&Default::default()).unwrap();
    let (near, _far) = unix();
    assert_eq!(near.remote_address().unwrap().to_string(), "unix:");
}
