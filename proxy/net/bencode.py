"""The two directions of bencode (BEP 3) that rtpengine's ng protocol needs. Text is str in latin-1 dress or bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Encodable = str | bytes | int | Sequence["Encodable"] | Mapping[str, "Encodable"]
Decoded = bytes | int | list["Decoded"] | dict[bytes, "Decoded"]

DEPTH_MAX = 16
"""Of what is read; rtpengine's answers go four deep."""


def encode(value: Encodable) -> bytes:
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, str):
        return encode(value.encode("latin-1"))
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, Mapping):
        return b"d" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"e"
    return b"l" + b"".join(encode(item) for item in value) + b"e"


def decode(data: bytes) -> Decoded:
    """Raises: ValueError for anything that is not exactly one value."""
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise ValueError("more than one value")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Decoded, int]:
    kind = data[at : at + 1]
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep")
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind == b"l":
        items: list[Decoded] = []
        at += 1
        while data[at : at + 1] != b"e":
            item, at = _value(data, at, depth + 1)
            items.append(item)
        return items, at + 1
    if kind == b"d":
        found: dict[bytes, Decoded] = {}
        at += 1
        while data[at : at + 1] != b"e":
            key, at = _text(data, at)
            found[key], at = _value(data, at, depth + 1)
        return found, at + 1
    return _text(data, at)


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    colon = data.index(b":", at)
    digits = data[at:colon]
    if not digits.isdigit() or len(digits) > 8:
        raise ValueError("not a length")
    end = colon + 1 + int(digits)
    if end > len(data):
        raise ValueError("cut short")
    return data[colon + 1 : end], end
