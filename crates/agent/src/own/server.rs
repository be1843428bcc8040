//! Whether the server of this host is well, believed of nobody but the server itself: whoever got hold of its port may
//! answer what a server would. So the main process of its unit has to run the program that is installed, and to hold every
//! socket that waits at the address that is asked.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::actions::{CommandError, Invocation, Programs};
use crate::facts::listens;

/// How long a server may take to say that it is well.
const HEALTH: Duration = Duration::from_secs(5);

/// Why a server does not count as well.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// systemd does not tell.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It does not run.
    #[error("{unit} has no main process")]
    Stopped {
        /// The unit.
        unit: String,
    },
    /// Something of it cannot be read.
    #[error("cannot read {what} of process {pid}")]
    Read {
        /// What.
        what: &'static str,
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It runs another program.
    #[error("process {pid} does not run the {program} that is installed")]
    Other {
        /// The process.
        pid: u32,
        /// The program.
        program: String,
    },
    /// The address is none.
    #[error("{url} names no address of this host")]
    Address {
        /// What was to be asked.
        url: String,
    },
    /// Somebody else answers there.
    #[error("process {pid} is not what waits at {address}")]
    Elsewhere {
        /// The process.
        pid: u32,
        /// The address.
        address: SocketAddr,
    },
    /// It does not say that it is well.
    #[error("{url} does not answer that the server is well")]
    Says {
        /// What was asked.
        url: String,
    },
}

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) host: &'a dyn Programs,
    /// Where processes are looked up.
    pub(super) proc: &'a Path,
    /// The installed program of the server.
    pub(super) program: &'a Path,
    pub(super) unit: &'a str,
    pub(super) url: &'a str,
}

impl Asked<'_> {
    /// Whether it is well, else why not.
    pub(super) fn well(&self) -> Result<(), Unwell> {
        let nowhere = || Unwell::Address { url: self.url.to_owned() };
        let uri: ureq::http::Uri = self.url.parse().map_err(|_| nowhere())?;
        let host = uri.host().ok_or_else(nowhere)?.trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs().map_err(|_| nowhere())?;
        let pid = self.main()?;
        // A name has an address of each kind, and the server waits at one of them.
        let mut found = Err(nowhere());
        for address in addresses {
            found = self.is_it(pid, address).map(|()| address);
            if found.is_ok() {
                break;
            }
        }
        let address = found?;
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(HEALTH)).max_redirects(0).proxy(None).build().into();
        // The very address that was looked at: a name may lead elsewhere by now.
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let name = uri.authority().map_or_else(|| address.to_string(), ToString::to_string);
        let answer = agent.get(format!("http://{address}{path}")).header("Host", name).call();
        if !answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
            return Err(Unwell::Says { url: self.url.to_owned() });
        }
        // It was there all the while.
        self.is_it(pid, address)
    }

    fn main(&self) -> Result<u32, Unwell> {
        let show = ["show", "--value", "--property=MainPID", self.unit];
        let output = self.host.run(&Invocation::reading("systemctl", show))?;
        let pid = output.text().trim().parse().ok().filter(|pid| *pid != 0);
        pid.ok_or_else(|| Unwell::Stopped { unit: self.unit.to_owned() })
    }

    fn is_it(&self, pid: u32, address: SocketAddr) -> Result<(), Unwell> {
        let unread = |what| move |source| Unwell::Read { what, pid, source };
        let runs = fs::metadata(self.proc.join(pid.to_string()).join("exe")).map_err(unread("the program"))?;
        let same = fs::metadata(self.program).is_ok_and(|it| (it.dev(), it.ino()) == (runs.dev(), runs.ino()));
        if !same {
            return Err(Unwell::Other { pid, program: self.program.display().to_string() });
        }
        if !listens(self.proc, pid, address).map_err(unread("the sockets"))? {
            return Err(Unwell::Elsewhere { pid, address });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::actions::doubles::Table;

    /// Answers like a server that is well, in this process.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            }
        });
        address
    }

    fn asked(pid: u32, program: &Path, url: &str) -> Result<(), String> {
        let host = Table::new(&[("MainPID", &format!("{pid}\n"))]);
        let asked = Asked { host: &host, proc: Path::new("/proc"), program, unit: "stanch.service", url };
        asked.well().map_err(|error| error.to_string())
    }

    struct Other(Child);

    impl Drop for Other {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn nobody_but_the_server_itself_says_that_it_is_well() {
        let (address, me) = (server(), std::process::id());
        let (program, url) = (std::env::current_exe().unwrap(), format!("http://{address}/api/v1/health"));
        assert_eq!(asked(me, &program, &url), Ok(()));
        assert_eq!(asked(me, &program, &url.replace("127.0.0.1", "localhost")), Ok(()), "by name");
        assert!(asked(0, &program, &url).unwrap_err().contains("no main process"));

        // The unit's own process does not listen there, whoever else answers.
        let other = Other(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        let cat = fs::read_link(format!("/proc/{}/exe", other.0.id())).unwrap();
        assert!(asked(other.0.id(), &cat, &url).unwrap_err().contains("is not what waits"));

        // The version before still runs: what is installed by now is another file.
        let folder = tempfile::tempdir().unwrap();
        let newer = folder.path().join("stanch");
        fs::copy(&program, &newer).unwrap();
        assert!(asked(me, &newer, &url).unwrap_err().contains("that is installed"));
    }

    #[test]
    fn a_server_that_does_not_answer_well_is_not_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = (&stream).write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        let program = std::env::current_exe().unwrap();
        assert!(asked(std::process::id(), &program, &url).unwrap_err().contains("does not answer"));
        assert!(asked(std::process::id(), &program, "http://").unwrap_err().contains("no address"));
    }
}
