//! A web server with a folder, with ranges or without, and with faults.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

type Fault = Box<dyn Fn(&str, usize, Vec<u8>) -> Vec<u8> + Send>;

#[derive(Clone)]
pub struct Web {
    pub address: String,
    pub shared: Arc<Shared>,
}

pub struct Shared {
    root: PathBuf,
    pub has_ranges: AtomicBool,
    /// The number of requests that were answered.
    pub requests: AtomicUsize,
    /// The number of bytes that were sent in answers.
    pub sent: AtomicUsize,
    /// The last header of each request that authorizes it.
    pub authorization: Mutex<Option<String>>,
    /// Changes the bytes of an answer, given its path and the index of its first byte. A shorter answer is cut in the middle of the connection.
    fault: Mutex<Fault>,
}

impl Web {
    pub fn new(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            root: root.to_path_buf(),
            has_ranges: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            authorization: Mutex::new(None),
            fault: Mutex::new(Box::new(|_, _, body| body)),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || server.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn set_fault(&self, fault: impl Fn(&str, usize, Vec<u8>) -> Vec<u8> + Send + 'static) {
        *self.shared.fault.lock().expect("a lock") = Box::new(fault);
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Answers the requests of a connection until it is closed, or an answer is cut.
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut writer = stream;
        while let Some((path, range)) = self.read(&mut reader) {
            self.requests.fetch_add(1, Ordering::SeqCst);
            let (head, body) = self.answer(&path, range);
            let sent = (self.fault.lock().expect("a lock"))(&path, range.map_or(0, |(start, _)| start), body.clone());
            self.sent.fetch_add(sent.len(), Ordering::SeqCst);
            let written = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&sent));
            if written.is_err() || sent.len() != body.len() {
                return;
            }
        }
    }

    /// The path and the range of the next request.
    fn read(&self, reader: &mut impl BufRead) -> Option<(String, Option<(usize, usize)>)> {
        let (mut path, mut range) = (None, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(' ') {
                _ if line.is_empty() => return path.map(|path| (path, range)),
                Some(("GET", rest)) => path = Some(rest.split(' ').next()?.trim_start_matches('/').to_owned()),
                Some((name, value)) if name.eq_ignore_ascii_case("range:") => {
                    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
                    range = Some((start.parse().ok()?, end.parse().ok()?));
                }
                Some((name, value)) if name.eq_ignore_ascii_case("authorization:") => {
                    *self.authorization.lock().expect("a lock") = Some(value.to_owned());
                }
                _ => {}
            }
        }
    }

    fn answer(&self, path: &str, range: Option<(usize, usize)>) -> (String, Vec<u8>) {
        let last_modified = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
        let Ok(content) = fs::read(self.root.join(path)) else {
            return ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), Vec::new());
        };
        let length = content.len();
        match range.filter(|_| self.has_ranges.load(Ordering::SeqCst)) {
            Some((start, end)) if start < length => {
                let body = content[start..length.min(end + 1)].to_vec();
                let range = format!("Content-Range: bytes {start}-{}/{length}\r\n", start + body.len() - 1);
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\n{last_modified}{range}Content-Length: {}\r\n\r\n",
                    body.len()
                );
                (head, body)
            }
            _ => (format!("HTTP/1.1 200 OK\r\n{last_modified}Content-Length: {length}\r\n\r\n"), content),
        }
    }
}
