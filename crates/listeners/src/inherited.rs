use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_transport::Address;
use parking_lot::Mutex;
use socket2::Socket;
use tokio::sync::watch;

use crate::{BindError, Bound, Endpoint};

/// A listening socket on its way from one process to another.
#[derive(Debug)]
pub struct ListeningSocket {
    /// The address that was asked for when it was made.
    pub asked: Address,
    /// The address it is bound to.
    pub bound: Address,
    /// The socket.
    pub socket: Socket,
}

/// Listening sockets that another process has handed over, to be used in the place of new ones. Nothing is
/// accepted on them before they are this process's own: what is accepted and then lost with a start that fails
/// would have been served by the other.
#[derive(Debug, Default)]
pub struct Inherited {
    /// None once it is taken.
    sockets: Mutex<Vec<Option<ListeningSocket>>>,
    /// Of those that are taken, what says that the other process has them too.
    sharing: Mutex<Vec<Arc<AtomicBool>>>,
    /// What they are to become.
    unsettled: Mutex<Vec<(Endpoint, Socket)>>,
    is_own: watch::Sender<bool>,
}

impl Inherited {
    /// These sockets, for endpoints to take.
    pub fn new(sockets: Vec<ListeningSocket>) -> Self {
        let sockets = Mutex::new(sockets.into_iter().map(Some).collect());
        Inherited { sockets, ..Inherited::default() }
    }

    /// The socket for an endpoint: one that is bound where it is to listen, however that was
    /// written. For a port that the system chooses, the next of those that were chosen for the same
    /// IP address.
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Option<ListeningSocket> {
        let mut sockets = self.sockets.lock();
        let fits = |socket: &&mut Option<ListeningSocket>| {
            socket.as_ref().is_some_and(|socket| socket.fits(endpoint))
        };
        sockets.iter_mut().find(fits)?.take()
    }

    /// An endpoint is bound to one of them: it accepts when they are this process's own.
    pub(crate) fn adopted(&self, endpoint: &Endpoint, bound: Bound) -> io::Result<Bound> {
        self.sharing.lock().push(bound.sharing());
        self.unsettled.lock().push((endpoint.clone(), bound.share()?.socket));
        Ok(bound.held(self.is_own.subscribe()))
    }

    /// Gives those that endpoints have taken what these ask of them, and closes the others. Not done
    /// before all else is: until then the other process has them as it wants them.
    pub fn settle(&self) -> Result<(), BindError> {
        self.sockets.lock().clear();
        let mut unsettled = std::mem::take(&mut *self.unsettled.lock()).into_iter();
        unsettled.try_for_each(|(endpoint, socket)| {
            crate::bind::settle(&endpoint, &socket)
                .map_err(|io| BindError { address: endpoint.address.clone(), io })
        })
    }

    /// Closes all that no endpoint has.
    pub fn close(&self) {
        self.sockets.lock().clear();
        self.unsettled.lock().clear();
    }

    /// Those that endpoints have taken are this process's from now on, which accepts on them. May be called
    /// again, and from several threads.
    pub fn own(&self) {
        self.sharing.lock().drain(..).for_each(|shared| shared.store(false, Ordering::SeqCst));
        self.is_own.send_replace(true);
    }

    /// Which of the sockets, by the order in which they were given, endpoints have taken.
    pub fn taken(&self) -> Vec<usize> {
        let sockets = self.sockets.lock();
        let taken = |(place, socket): (usize, &Option<_>)| socket.is_none().then_some(place);
        sockets.iter().enumerate().filter_map(taken).collect()
    }
}

impl ListeningSocket {
    /// One whose descriptor came from elsewhere. Where it listens, the system knows best.
    pub fn found(asked: Address, bound: Address, socket: Socket) -> io::Result<Self> {
        let bound = match socket.local_addr()?.as_socket() {
            Some(address) => Address::Ip(address),
            None => bound,
        };
        socket.set_nonblocking(true)?;
        Ok(ListeningSocket { asked, bound, socket })
    }

    fn fits(&self, endpoint: &Endpoint) -> bool {
        match (&endpoint.address, &self.bound, &self.asked) {
            (Address::Ip(wanted), Address::Ip(_), Address::Ip(asked)) if wanted.port() == 0 => {
                same(*wanted, *asked) && self.families_fit(endpoint)
            }
            (Address::Ip(wanted), Address::Ip(bound), _) => {
                same(*wanted, *bound) && self.families_fit(endpoint)
            }
            #[cfg(unix)]
            (Address::Unix(wanted), Address::Unix(bound), _) => {
                let is_abstract = endpoint.address.abstract_name().is_some();
                (is_abstract && wanted == bound) || crate::socket_file::is_same(wanted, bound)
            }
            _ => false,
        }
    }

    /// Whether it serves IPv4 too, where that was asked for or refused, cannot be changed any more.
    fn families_fit(&self, endpoint: &Endpoint) -> bool {
        let asked =
            endpoint.options.ipv6_only.filter(|_| self.bound.ip().is_some_and(|ip| ip.is_ipv6()));
        asked.is_none_or(|asked| self.socket.only_v6().is_ok_and(|only| only == asked))
    }
}

/// Whether they are one address, however it was written.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    one.ip().to_canonical() == other.ip().to_canonical()
        && one.port() == other.port()
        && scope(one) == scope(other)
}
