//! A server of canned answers on this machine: each request takes the next one, and is remembered.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What is answered to one request.
#[derive(Clone)]
pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
    /// Announce this length instead of the body's own.
    announced: Option<usize>,
}

impl Answer {
    pub(crate) fn new(status: &str, body: &[u8]) -> Self {
        Self { head: format!("HTTP/1.1 {status}\r\n"), body: body.to_vec(), announced: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends only the first bytes of the body and then hangs up, after announcing all of it.
    pub(crate) fn cut(mut self, at: usize) -> Self {
        self.announced = Some(self.body.len());
        self.body.truncate(at);
        self
    }
}

pub(crate) struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server with these answers, in this order; the last one is repeated.
    pub(crate) async fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut at = 0;
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                seen.lock().unwrap().push(String::from_utf8_lossy(&request).to_ascii_lowercase());
                let answer: &Answer = answers.get(at).or(answers.last()).unwrap();
                at += 1;
                let length = match answer.announced.unwrap_or(answer.body.len()) {
                    _ if answer.head.contains("Transfer-Encoding") => String::new(),
                    length => format!("content-length: {length}\r\n"),
                };
                let head = format!("{}{length}connection: close\r\n\r\n", answer.head);
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(&answer.body).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}
