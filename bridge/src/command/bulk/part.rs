//! A part of the output: the answers to a range of rows, in their order.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::contents::Contents;
use super::files::NewFile;
use crate::BridgeError;
use crate::command::Failure;
use crate::command::stream::{Answers, answer_batch, to_json};
use crate::jsonl::next_row;

/// Limit on the size of the rows that are answered together, in bytes. A larger row is answered alone.
const CALL_BYTES: usize = 1 << 20;
/// The start of the output line of a row that failed.
const FAILED: &[u8] = b"{\"error\":";

/// The error of a row. The message is left out, because its wording is not part of the format and would make the output
/// depend on the language and the version of the command.
#[derive(Serialize)]
struct RowError {
    code: &'static str,
    line: u64,
}

/// The path of a part. Sorted by name, parts have the order of their rows.
pub(super) fn path(output: &Path, part: u64) -> PathBuf {
    output.join(format!("part-{part:08}.jsonl"))
}

/// Answers the rows of a part and writes them. Returns the number of rows that failed.
///
/// # Errors
/// `io` if the input cannot be read, was changed, or the output cannot be written; or an error of all rows.
pub(super) fn process<C: Answers>(
    command: &C,
    contents: &Contents,
    part: u64,
    path: &Path,
    limit: usize,
) -> Result<u64, Failure> {
    let mut file = NewFile::create(path)?;
    let mut rows = Rows { input: contents.open(part)?, left: contents.rows_of(part), limit, next: None };
    let (mut line, mut failed) = (part * contents.part_rows, 0);
    while let Some(call) = rows.call(command.max_rows()).map_err(|error| BridgeError::io(&contents.path, &error))? {
        for (input, outcome) in answer_batch(command, call)? {
            line += 1;
            let text = match (input, outcome) {
                (Some(input), Ok(answer)) => command.line(&input, answer)?,
                (_, Err(error)) => {
                    failed += 1;
                    let error = RowError { code: error.code().as_str(), line };
                    to_json(&serde_json::json!({ "error": error }))?
                }
                (None, Ok(_)) => continue,
            };
            file.write(text.as_bytes())?;
            file.write(b"\n")?;
        }
    }
    contents.check_unchanged()?;
    file.finish()?;
    Ok(failed)
}

/// Counts the rows of a part that failed.
///
/// # Errors
/// `io` if it cannot be read.
pub(super) fn failed_rows(path: &Path) -> Result<u64, BridgeError> {
    let count = || {
        let (mut input, mut line, mut failed) = (BufReader::new(File::open(path)?), Vec::new(), 0);
        while input.read_until(b'\n', &mut line)? > 0 {
            failed += u64::from(line.starts_with(FAILED));
            line.clear();
        }
        Ok(failed)
    };
    count().map_err(|error: io::Error| BridgeError::io(path, &error))
}

/// The rows of a part that were not read yet.
struct Rows<I, R> {
    input: R,
    left: u64,
    /// Limit on the size of a text in bytes of UTF-8.
    limit: usize,
    /// A row that did not fit into the last call, and its size in bytes.
    next: Option<(usize, Result<I, BridgeError>)>,
}

impl<I: crate::jsonl::LineInput, R: BufRead> Rows<I, R> {
    /// The rows of the next call: at most `max_rows`, and at most [`CALL_BYTES`] unless it is one row.
    fn call(&mut self, max_rows: usize) -> io::Result<Option<Vec<Result<I, BridgeError>>>> {
        let (mut call, mut size) = (Vec::new(), 0);
        while let Some((bytes, row)) = self.row()? {
            if !call.is_empty() && (call.len() == max_rows || size + bytes > CALL_BYTES) {
                self.next = Some((bytes, row));
                break;
            }
            size += bytes;
            call.push(row);
        }
        Ok((!call.is_empty()).then_some(call))
    }

    fn row(&mut self) -> io::Result<Option<(usize, Result<I, BridgeError>)>> {
        if let Some(row) = self.next.take() {
            return Ok(Some(row));
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(next_row(&mut self.input, self.limit)?.map(|row| (row.bytes(self.limit), row.parse(self.limit))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_bounded_by_rows_and_bytes() {
        let big = format!("\"{}\"\n", "x".repeat(CALL_BYTES - 10));
        let text = format!("\"a\"\n\"b\"\n\"c\"\n{big}{big}\"d\"\n\"e\"\n");
        let mut rows = Rows::<String, _> { input: text.as_bytes(), left: 6, limit: CALL_BYTES, next: None };
        let mut calls = Vec::new();
        while let Some(call) = rows.call(2).expect("rows") {
            calls.push(call.len());
        }
        assert_eq!(calls, [2, 2, 2]);
    }

    #[test]
    fn failed_rows_are_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), 7);
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some("part-00000007.jsonl"));
        std::fs::write(&path, "{\"error\":{}}\n{\"summary\":\"{\\\"error\\\":\"}\n{\"error\":{}}\n").expect("a file");
        assert_eq!(failed_rows(&path), Ok(2));
    }
}
