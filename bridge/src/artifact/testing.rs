//! Encodes protobuf fields, for tests.

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The bytes of a protobuf field with a varint.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// The bytes of a protobuf field with a nested message.
pub(crate) fn message(field: u64, content: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(content.len() as u64), content].concat()
}

/// The bytes of a protobuf field with a string.
pub(crate) fn text(field: u64, content: &str) -> Vec<u8> {
    message(field, content.as_bytes())
}
