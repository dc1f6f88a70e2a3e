"""Mutations of bytes: anywhere, in the fields of protobuf messages, in files of safetensors and in tar files."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from random import Random

from .json_values import mutated_json

_MAX_DEPTH = 5
_BLOCK = 512
# Offset and length of the fields of a header in a tar file: name, mode, size, time, type, link, magic, prefix
_TAR_FIELDS = ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
_TAR_VALUES = (
    b"",
    b"../x",
    b"/x",
    b"1",
    b"2",
    b"5",
    b"x",
    b"g",
    b"L",
    b"S",
    b"77777777777",
    b"\xff" * 12,
    b"\x80" + b"\0" * 11,
)
_NUMBERS = (0, 1, 2, 127, 128, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def mutated_bytes(raw: bytes, source: Random) -> bytes:
    """Return changed bytes: flipped, inserted, removed, repeated, cut or overwritten."""
    for _ in range(source.choice((1, 1, 2, 4))):
        start = source.randrange(len(raw) + 1)
        end = min(len(raw), start + source.choice((1, 1, 2, 8, 64, 1000)))
        noise = bytes(source.randrange(256) for _ in range(min(16, end - start)))
        flipped = bytes(byte ^ (1 << source.randrange(8)) for byte in raw[start : start + 1])
        middle = source.choice(
            (
                flipped + raw[start + 1 : end],
                noise + raw[start + len(noise) : end],
                b"",
                raw[start:end] * 2,
                bytes(end - start),
                b"\xff" * (end - start),
                bytes([source.randrange(256)]) + raw[start:end],
            )
        )
        raw = raw[:start] + middle + raw[end:]
    return raw[: source.randrange(len(raw) + 1)] if source.random() < 0.05 else raw


def mutated_tar(raw: bytes, source: Random) -> bytes:
    """Return a changed tar file; the checksum of a changed header is right again, mostly."""
    if source.random() < 0.15:
        return mutated_bytes(raw, source)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        member = source.choice(archive.getmembers())
    start, end = member.offset, member.offset_data + -(-member.size // _BLOCK) * _BLOCK
    kind = source.randrange(6)
    if kind == 0:  # a member twice, missing, or at the end
        return raw[:start] + source.choice((raw[start:end] * 2, b"", raw[end:] + raw[start:end]))
    if kind == 1:
        return raw[:start]
    header = bytearray(raw[start : start + _BLOCK])
    offset, length = source.choice(_TAR_FIELDS)
    value = source.choice(_TAR_VALUES) if kind < 4 else mutated_bytes(bytes(header[offset : offset + length]), source)
    header[offset : offset + length] = value[:length].ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return raw[:start] + bytes(header) + raw[start + _BLOCK :]


@dataclass(frozen=True)
class _Field:
    """A field of a protobuf message: its number, wire type, and the offsets of its tag, its content and its end."""

    number: int
    wire: int
    start: int
    content: int
    end: int


def mutated_protobuf(raw: bytes, source: Random) -> bytes:
    """Return a changed protobuf message; the lengths of the messages around the changed field are right again."""
    return mutated_bytes(raw, source) if source.random() < 0.15 else _changed_message(raw, source, 0)


def _changed_message(raw: bytes, source: Random, depth: int) -> bytes:
    fields = _fields(raw)
    if not fields:
        return mutated_bytes(raw, source)
    numbers = sorted({field.number for field in fields})
    number = source.choice(numbers)
    field = source.choice([each for each in fields if each.number == number])
    content = raw[field.content : field.end]
    if field.wire == 2 and depth < _MAX_DEPTH and source.random() < 0.75 and _fields(content):
        changed = _field(field.number, _changed_message(content, source, depth + 1))
    else:
        changed = _changed_field(field, raw[field.start : field.end], content, source)
    return raw[: field.start] + changed + raw[field.end :]


def _changed_field(field: _Field, whole: bytes, content: bytes, source: Random) -> bytes:
    kind = source.randrange(9)
    if kind == 0:
        return b""
    if kind == 1:
        return whole * source.choice((2, 3, 200))
    if kind == 2:  # a length that lies
        return varint(field.number << 3 | 2) + varint(source.choice(_NUMBERS)) + content
    if kind == 3:  # another field number or wire type
        return varint(source.choice((0, field.number + 1, 1 << 29)) << 3 | field.wire) + whole[1:]
    if kind == 4:
        return varint(field.number << 3 | source.randrange(8)) + content
    if kind == 5:  # nested in itself
        nested = content
        for _ in range(source.choice((1, 20, 200))):
            nested = _field(field.number, nested)
        return nested
    if kind == 6:  # a varint that is longer than it must be, or longer than it may be
        number = varint(field.number << 3)
        return number + b"\x80" * source.choice((3, 9, 10, 12)) + bytes([source.randrange(4)])
    if field.wire == 0:
        return varint(field.number << 3) + varint(source.choice(_NUMBERS))
    return _field(field.number, mutated_bytes(content, source)) if field.wire == 2 else mutated_bytes(whole, source)


def varint(number: int) -> bytes:
    """Return a number of at most 64 bits in protobuf's encoding."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _fields(raw: bytes) -> list[_Field]:
    """Return the fields of a message; none if the bytes are no message."""
    fields: list[_Field] = []
    position = 0
    while position < len(raw):
        start = position
        tag, position = _read_varint(raw, position)
        wire = tag & 7
        content = position
        if wire == 0:
            _, position = _read_varint(raw, position)
        elif wire == 2:
            length, content = _read_varint(raw, position)
            position = content + length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            return []
        if position > len(raw) or tag >> 3 == 0:
            return []
        fields.append(_Field(tag >> 3, wire, start, content, position))
    return fields


def _read_varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return a number and the offset after it, which is past the end of the bytes if they are no number."""
    result = 0
    for index in range(10):
        if position + index >= len(raw):
            return 0, len(raw) + 1
        byte = raw[position + index]
        result |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return result, position + index + 1
    return 0, len(raw) + 1


def mutated_safetensors(raw: bytes, source: Random) -> bytes:
    """Return a changed file of safetensors: another header, a length that lies, or other data."""
    size = int.from_bytes(raw[:8], "little")
    header, data = raw[8 : 8 + size], raw[8 + size :]
    kind = source.randrange(4)
    if kind == 0:
        return source.choice((*_NUMBERS, size - 1, size + 1)).to_bytes(8, "little") + header + data
    if kind == 1:
        return raw[: 8 + size] + mutated_bytes(data, source)
    if kind == 2:  # a value of four bytes that is not finite, negative, or no row of any table
        offset = source.randrange(len(data) // 4) * 4
        word = source.choice((b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
        return raw[: 8 + size] + data[:offset] + word + data[offset + 4 :]
    changed = mutated_json(json.loads(header), source, line=True)
    return len(changed).to_bytes(8, "little") + changed + data
