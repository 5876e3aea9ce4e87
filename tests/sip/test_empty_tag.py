"""The mutation fuzzer's: a To with an empty tag was taken for one without, and answered with two tags."""

from __future__ import annotations

import pytest

from proxy.sip.message import ErrorKind, ParseError
from proxy.sip.parse import parse


@pytest.mark.parametrize(("key", "kind"), [("From", ErrorKind.FROM), ("To", ErrorKind.TO)])
@pytest.mark.parametrize("tag", [";tag=", ";tag=;x=1", ";tag"])
def test_an_empty_tag_is_malformed(key: str, kind: ErrorKind, tag: str) -> None:
    values = {"From": "<sip:a@example.com>;tag=1", "To": "<sip:b@example.com>"}
    values[key] = values[key].partition(";tag")[0] + tag
    message = parse(
        b"OPTIONS sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in values.items()).encode()
        + b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    assert isinstance(message, ParseError)
    assert message.kind is kind
