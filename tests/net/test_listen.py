"""Binding: what fails names its address, wildcards are told to peers as an address that can be reached."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from config.listen import Endpoint, HostPort, Listen, Transport
from proxy.net.listen import ListenError, bind


def listen(
    host: str, port: int = 0, transport: Transport = "UDP", advertise: HostPort | None = None
) -> Listen:
    return Listen(address=Endpoint(transport, host, port), advertise=advertise)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_taken_port_is_named(transport: Transport) -> None:
    (first,) = bind([listen("127.0.0.1", 0, transport)], None)
    port = first.sock.getsockname()[1]
    with first.sock, pytest.raises(ListenError) as raised:
        bind([listen("127.0.0.1", port, transport)], None)
    assert str(raised.value) == (
        f"cannot listen on {transport.lower()}://127.0.0.1:{port}: the port is taken by another program"
    )


def test_when_one_fails_the_others_are_given_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        with pytest.raises(ListenError):
            bind([listen("127.0.0.1", free), listen("127.0.0.1", taken.getsockname()[1])], None)
        (again,) = bind([listen("127.0.0.1", free)], None)
        again.sock.close()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenError, match=r"udp://192\.0\.2\.1:5060: this machine has no such address"):
        bind([listen("192.0.2.1", 5060)], None)


def test_both_wildcards_share_a_port() -> None:
    (four,) = bind([listen("0.0.0.0")], None)
    (six,) = bind([listen("::", four.local.port)], None)
    with four.sock, six.sock:
        assert (four.local.family, six.local.family) == (4, 6)
        assert four.local.port == six.local.port
        for bound in (four, six):
            told = ipaddress.ip_address(bound.local.host.strip("[]"))
            assert not told.is_unspecified


def test_what_peers_are_told() -> None:
    told = HostPort("sip.example.com", 0)
    own = HostPort("2001:db8::7", 5070)
    bound = bind([listen("127.0.0.1"), listen("127.0.0.1", advertise=own), listen("::1")], told)
    plain, listener, six = (one.local for one in bound)
    for one in bound:
        one.sock.close()
    assert (plain.host, plain.port) == ("sip.example.com", bound[0].table.local.port)
    assert plain.port > 0
    assert (listener.host, listener.port) == ("[2001:db8::7]", 5070)
    assert six.family == 6
