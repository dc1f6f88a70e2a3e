//! [`Events`]: the events of a stream.

/// The longest event. Longer ones end the stream.
const MAX_EVENT: usize = 1 << 20;

/// Reads the data of server-sent events from bytes that arrive in parts of any size.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The bytes of a line without its end.
    line: Vec<u8>,
    /// The data of the event that is not complete, a line each.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was a carriage return, whose line feed is still to come.
    after_return: bool,
}

/// An event, or a line of it, is too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    /// Adds bytes and passes the data of every event that is complete to a function, until this fails.
    ///
    /// # Errors
    /// The error of the function, or an event that is too long.
    pub(crate) fn feed<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => self.end_line(&mut on_event)?,
                _ if self.line.len() + self.data.len() >= MAX_EVENT => return Err(TooLong.into()),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line<E>(&mut self, on_event: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return if std::mem::take(&mut self.has_data) { on_event(&data) } else { Ok(()) };
        }
        // Comments start with a colon; other fields than `data` have no meaning here.
        if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [] => value,
                [b':', b' ', rest @ ..] | [b':', rest @ ..] => rest,
                _ => return Ok(()),
            };
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(parts: &[&[u8]]) -> Result<Vec<String>, TooLong> {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for part in parts {
            events.feed(part, |data| {
                all.push(String::from_utf8_lossy(data).into_owned());
                Ok::<(), TooLong>(())
            })?;
        }
        Ok(all)
    }

    #[test]
    fn events_end_with_an_empty_line() {
        let stream =
            b": comment\ndata: a\n\nevent: x\r\ndata:b\r\ndata: c\r\n\r\ndata\n\nid: 1\n\ndata: open\n".as_slice();
        assert_eq!(events(&[stream]), Ok(["a", "b\nc", ""].map(str::to_owned).to_vec()));
        assert_eq!(events(&[b"datax: a\n\n\n\n"]), Ok(vec![]));
        assert_eq!(events(&[b"data: \xc3", b"\xa9\r", b"\n\r", b"\n"]), Ok(vec!["é".to_owned()]));
    }

    #[test]
    fn long_events_are_refused() {
        let line = [b"data: ".as_slice(), &vec![b'a'; MAX_EVENT]].concat();
        assert_eq!(events(&[&line]), Err(TooLong));
        let half = [b"data: ".as_slice(), &vec![b'a'; MAX_EVENT / 2], b"\n"].concat();
        assert_eq!(events(&[&half, &half]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn the_parts_do_not_matter(
            stream in "(data: [a-é]{0,4}\r?\n|\r?\n|:x\n|id: 1\r\n){0,12}", size in 1_usize..9,
        ) {
            let parts: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            prop_assert_eq!(events(&parts), events(&[stream.as_bytes()]));
        }
    }
}
