"""Bencode: what is written is read back, and rubbish is a ValueError, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.net.bencode import DEPTH_MAX, Decoded, decode, encode

VALUES: st.SearchStrategy[Decoded] = st.recursive(
    st.binary(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


def test_as_rtpengine_writes_it() -> None:
    assert encode({"command": "ping"}) == b"d7:command4:pinge"
    assert encode({"replace": ["origin"], "n": -7}) == b"d7:replacel6:origine1:ni-7ee"
    assert decode(b"d6:result4:pong4:listli1ei2eee") == {b"result": b"pong", b"list": [1, 2]}


@given(VALUES)
def test_there_and_back(value: Decoded) -> None:
    def again(part: Decoded) -> bytes:
        if isinstance(part, list):
            return b"l" + b"".join(map(again, part)) + b"e"
        assert isinstance(part, bytes | int)
        return encode(part)

    assert decode(again(value)) == value


@given(st.binary(max_size=60))
def test_rubbish_is_a_value_error(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"5:abc", b"d3:a", b"ie", b"i1", b"l", b"1:a1:b", b"-1:a", b"l" * (DEPTH_MAX + 9), b"di1e1:ae"],
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)
