"""STUN on a SIP port (RFC 5626 §8, RFC 5389): a Binding request is answered with the address it came from.

That keeps a NAT's mapping open, and tells a client when it has changed. Nothing else of STUN is here: no
authentication, no other method; what is not a well-formed Binding request is no answer's worth.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

MAGIC = 0x2112A442
_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_BINDING_ERROR = 0x0111
_MAPPED_ADDRESS = 0x0001
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_XOR_MAPPED_ADDRESS = 0x0020
_OPTIONAL = 0x8000
# RFC 5389 §15: known, and of no use here: CHANGE-REQUEST and RESPONSE-ADDRESS of RFC 3489 are not done by anybody.
_KNOWN = frozenset((0x0001, 0x0006, 0x0008, 0x0014, 0x0015, 0x0020))
_SIZE_MAX = 548
"""RFC 5389 §7.1: no STUN message over UDP is larger."""


def binding_response(data: bytes, host: str, port: int) -> bytes | None:
    """The answer to a Binding request from this address (IPv6 without brackets); None when `data` is none."""
    if not 20 <= len(data) <= _SIZE_MAX:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    # RFC 5389 §6: the two top bits are zero, the length a multiple of four and true.
    if kind != _BINDING_REQUEST or length % 4 or length != len(data) - 20:
        return None
    unknown = _unknown(data)
    if unknown is None:
        return None
    if unknown:
        # RFC 5389 §7.3.1: 420, and which they are.
        code = struct.pack(">HBB", 0, 4, 20) + b"Unknown Attribute\0\0\0"
        names = b"".join(struct.pack(">H", name) for name in unknown)
        body = _attribute(_ERROR_CODE, code) + _attribute(_UNKNOWN_ATTRIBUTES, names)
        return _HEADER.pack(_BINDING_ERROR, len(body), cookie, transaction) + body
    address = ip_address(host.partition("%")[0])
    family, packed = (2, address.packed) if address.version == 6 else (1, address.packed)
    if cookie == MAGIC:
        # RFC 5389 §15.2: so that no NAT in between rewrites it.
        mask = struct.pack(">I", MAGIC) + transaction
        packed = bytes(octet ^ mask[i] for i, octet in enumerate(packed))
        body = _attribute(_XOR_MAPPED_ADDRESS, struct.pack(">HH", family, port ^ (MAGIC >> 16)) + packed)
    else:
        # A client of RFC 3489: its transaction id is four octets longer.
        body = _attribute(_MAPPED_ADDRESS, struct.pack(">HH", family, port) + packed)
    return _HEADER.pack(_BINDING_SUCCESS, len(body), cookie, transaction) + body


def _unknown(data: bytes) -> list[int] | None:
    """Attributes that must be understood and are not; None: they cannot be read."""
    unknown = []
    at = 20
    while at < len(data):
        if at + 4 > len(data):
            return None
        name, length = _ATTRIBUTE.unpack_from(data, at)
        at += 4 + length + -length % 4
        if at > len(data):
            return None
        if name < _OPTIONAL and name not in _KNOWN:
            unknown.append(name)
    return unknown


def _attribute(name: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(name, len(value)) + value + b"\0" * (-len(value) % 4)
