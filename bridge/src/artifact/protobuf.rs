//! A reader of the protobuf wire format, as far as ONNX uses it. It iterates over the fields of a message without copying.

/// The value of one field of a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// An integer, which is encoded as a varint.
    Number(u64),
    /// Bytes: a string, a nested message or packed numbers.
    Bytes(&'a [u8]),
    /// A number of fixed width. Its value is dropped, because no caller needs it.
    Fixed,
}

/// Iterates over the fields of a message as `(field number, value)`. The iterator ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or("ends inside a number")?;
            self.rest = rest;
            // The first nine bytes of a varint hold 63 of its 64 bits, so that the tenth byte may only have one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".to_owned())
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (bytes, rest) = split.ok_or_else(|| format!("ends before a field of {count} bytes does"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), String> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            wire_type => return Err(format!("has the wire type {wire_type}, which ONNX does not use")),
        };
        match tag >> 3 {
            0 => Err("has the invalid field number 0".to_owned()),
            number => Ok((number, value)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn reads_every_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        let expected = vec![(1, Field::Number(150)), (2, Field::Bytes(b"hi")), (3, Field::Fixed), (4, Field::Fixed)];
        assert_eq!(fields(&bytes), Ok(expected));
        assert_eq!(fields(&[]), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let too_long = [[0x08].as_slice(), &[0xff; 10], &[1]].concat();
        for bytes in [&[0x80][..], &[0x0a, 5, 1], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x00, 1], &[0x0b], &too_long]
        {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = fields(&bytes);
        }
    }
}
