//! The server of tests/support/faulty.py, which corrupts its answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::wait::{until, until_within};

pub struct Faulty {
    process: Child,
    port: u16,
}

impl Faulty {
    pub fn start() -> Self {
        Self::with_arguments(&[])
    }

    pub fn with_arguments(arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/support/faulty.py");
        let mut command = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
        let mut process = command.arg(program).args(arguments).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("READY PORT");
        let port = line.split_whitespace().nth(1).and_then(|port| port.parse().ok()).expect("READY PORT");
        Self { process, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The next requests get these faults; what was seen is forgotten.
    pub fn script(&self, faults: &[&str]) {
        self.ask("POST", "/script", &json!(faults).to_string());
    }

    pub fn seen(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/seen", "")).expect("JSON")
    }

    pub fn requests(&self) -> Vec<Value> {
        self.seen()["requests"].as_array().expect("a list").clone()
    }

    /// Waits until there is a request.
    pub fn arrived(&self) {
        until(|| !self.requests().is_empty());
    }

    /// Waits until there is a request and all requests have ended. A request that stalls takes longer than this waits, unless
    /// the client closes its connection.
    pub fn ended(&self) {
        self.arrived();
        until_within(Duration::from_secs(30), || self.requests().iter().all(|request| !request["ended"].is_null()));
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
