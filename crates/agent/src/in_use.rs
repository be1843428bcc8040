//! Who and what makes use of this host at the moment: whoever approves an act wants to know what it cuts off.

use std::collections::BTreeSet;

use stanch_model::facts::{InUse, Known, ListeningSocket, PortInUse};

use crate::actions::{Programs, sessions};
use crate::facts;

/// Counts the sessions of people, and the connections to what listens on this host.
pub(crate) fn measure(host: &dyn Programs, sockets: &Known<Vec<ListeningSocket>>) -> InUse {
    let sessions = match sessions::of_people(host) {
        Ok(sessions) => Known::Known(u32::try_from(sessions.len()).unwrap_or(u32::MAX)),
        Err(error) => Known::Unknown(error.to_string()),
    };
    let connections = match sockets {
        Known::Unknown(why) => Known::Unknown(why.clone()),
        Known::Known(sockets) => {
            let tcp = sockets.iter().filter(|socket| socket.protocol.starts_with("tcp"));
            match facts::connections(tcp.map(|socket| socket.port).collect::<BTreeSet<u16>>()) {
                Ok(counts) => {
                    let counted = counts.into_iter().map(|(port, connections)| PortInUse { port, connections });
                    Known::Known(counted.collect())
                }
                Err(error) => Known::Unknown(format!("the kernel does not tell its connections: {error}")),
            }
        }
    };
    InUse { sessions, connections }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::actions::{CommandError, Invocation, Output};

    struct Who(&'static str, i32);

    impl Programs for Who {
        fn run(&self, _invocation: &Invocation) -> Result<Output, CommandError> {
            Ok(Output { code: Some(self.1), stdout: self.0.into(), stderr: b"no such file".to_vec() })
        }

        fn has(&self, _program: &str) -> bool {
            false
        }
    }

    #[test]
    fn people_at_work_and_connections_are_counted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let talks = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        let socket = ListeningSocket {
            protocol: "tcp".to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: address.port(),
            exe: None,
            package: None,
            service: None,
        };
        let two = Who("kim  pts/0\nlee  pts/1\n", 0);
        let found = measure(&two, &Known::Known(vec![socket]));
        assert_eq!(found.sessions, Known::Known(2));
        assert_eq!(found.connections, Known::Known(vec![PortInUse { port: address.port(), connections: 2 }]));
        drop(talks);
    }

    #[test]
    fn what_cannot_be_told_is_unknown_and_not_none() {
        let found = measure(&Who("", 1), &Known::Unknown("needs root".to_owned()));
        assert_eq!(found.sessions, Known::Unknown("cannot tell who is at work: no such file".to_owned()));
        assert_eq!(found.connections, Known::Unknown("needs root".to_owned()));
    }
}
