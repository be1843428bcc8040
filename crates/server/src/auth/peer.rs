//! The other end of a connection: somebody over TCP, or a process of this machine whose user the kernel vouches for.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP: proves nothing.
    Tcp,
    /// The operator of the machine of another server, which has looked who it is and vouches for it.
    Operator {
        /// The process's user there.
        uid: u32,
    },
    /// Over the control socket.
    Unix {
        /// The process's user, as the kernel says; `u32::MAX` when it does not.
        uid: u32,
    },
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self::Tcp
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Unix { uid: stream.io().peer_cred().map_or(u32::MAX, |cred| cred.uid()) }
    }
}

impl Peer {
    /// Whether it is the operator of this machine: root, or the user that the server runs as.
    pub(crate) fn operator(self) -> Option<u32> {
        match self {
            Self::Operator { uid } => Some(uid),
            Self::Unix { uid } if uid == 0 || uid == rustix::process::getuid().as_raw() => Some(uid),
            Self::Unix { .. } | Self::Tcp => None,
        }
    }
}
