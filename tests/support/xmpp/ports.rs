//! Ports on loopback that stay reserved for a server while it is down.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A free port, kept as long as this lives.
///
/// A socket that is bound and does not listen holds it: nobody is given the port by chance, as a listener or as the
/// local end of a connection, but a server that sets `SO_REUSEADDR`, as nearly all do, can listen on it.
pub struct Port {
    address: SocketAddr,
    _reservation: TcpSocket,
}

impl Port {
    /// A free port of 127.0.0.1.
    pub fn reserve() -> Self {
        let reservation = TcpSocket::new_v4().expect("a socket");
        reservation.set_reuseaddr(true).expect("an option");
        reservation.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = reservation.local_addr().expect("its address");
        Self { address, _reservation: reservation }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }
}
