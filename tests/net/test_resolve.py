"""RFC 3263 §4.1 and §4.2 against a name server of our own: which records are asked for, and what is made of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.listen import HostPort
from config.reaching import Resolver as Settings
from proxy.engine.events import NameFound
from proxy.engine.finding import Question
from proxy.net import resolve
from proxy.net.resolve import Resolver
from tests.dns import NameServer, name_server
from tests.net.tools import run

ALL = {("UDP", 4), ("TCP", 4), ("UDP", 6), ("TCP", 6)}
V4 = {("UDP", 4), ("TCP", 4)}
TLS = V4 | {("TLS", 4)}
ZONE = (
    'example.test. 300 IN NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp.example.test.',
    'example.test. 300 IN NAPTR 90 50 "s" "SIP+D2T" "" _sip._tcp.example.test.',
    'example.test. 300 IN NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp.elsewhere.test.',
    "_sips._tcp.example.test. 300 IN SRV 0 1 5061 one.example.test.",
    "_sip._tcp.example.test. 300 IN SRV 0 1 5070 one.example.test.",
    "_sip._tcp.example.test. 300 IN SRV 0 2 5071 two.example.test.",
    "_sip._udp.elsewhere.test. 60 IN SRV 10 0 5080 two.example.test.",
    "one.example.test. 300 IN A 192.0.2.1",
    "two.example.test. 300 IN A 192.0.2.2",
    "two.example.test. 300 IN AAAA 2001:db8::2",
    "srv.test. 300 IN A 192.0.2.99",
    "_sip._tcp.srv.test. 300 IN SRV 5 0 5070 one.example.test.",
    "_sip._udp.srv.test. 300 IN SRV 5 0 5060 two.example.test.",
    "plain.test. 20 IN A 192.0.2.7",
    "plain.test. 20 IN A 192.0.2.8",
    "away.test. 300 IN A 192.0.2.99",
    "_sip._udp.away.test. 300 IN SRV 0 0 0 .",
)


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server(*ZONE) as server:
        yield server


def resolver(
    dns: NameServer, reachable: set[tuple[str, int]] = V4, hosts: Path = Path("/dev/null")
) -> Resolver:
    host, port = dns.address.split(":")
    return Resolver(Settings(servers=(HostPort(host, int(port)),), timeout=0.2, hosts=hosts), reachable)


Shown = list[tuple[int, int, str, int, tuple[str, ...]]]


def shown(found: NameFound) -> Shown:
    """In the order of rank and port."""
    rows = [(s.rank, s.weight, s.transport, s.port, tuple(sorted(s.addresses))) for s in found.servers]
    return sorted(rows, key=lambda row: (row[0], row[3]))


def find(
    dns: NameServer,
    host: str,
    port: int = 0,
    transport: str = "",
    secure: bool = False,
    reachable: set[tuple[str, int]] = V4,
) -> NameFound:
    return run(resolver(dns, reachable).find(Question(host, port, transport, secure)))


def test_naptr_says_which_transports_and_where(dns: NameServer) -> None:
    """§4.1's own example: of what a client without TLS supports TCP is preferred, and UDP comes after it."""
    found = find(dns, "example.test")
    assert shown(found) == [
        (0, 1, "TCP", 5070, ("192.0.2.1",)),
        (0, 2, "TCP", 5071, ("192.0.2.2",)),
        ((1 << 16) + 10, 0, "UDP", 5080, ("192.0.2.2",)),
    ]
    assert 59 <= found.ttl <= 60
    assert not found.failed


def test_tls_is_taken_where_we_have_it_and_alone_for_sips(dns: NameServer) -> None:
    first = shown(find(dns, "example.test", reachable=TLS))[0]
    assert first == (0, 1, "TLS", 5061, ("192.0.2.1",))
    only = shown(find(dns, "example.test", secure=True, reachable=TLS))
    assert only == [(0, 1, "TLS", 5061, ("192.0.2.1",))]


def test_without_naptr_srv_of_each_transport_we_have(dns: NameServer) -> None:
    assert shown(find(dns, "srv.test")) == [
        (5, 0, "UDP", 5060, ("192.0.2.2",)),
        ((1 << 16) + 5, 0, "TCP", 5070, ("192.0.2.1",)),
    ]
    assert ("srv.test", "A") not in dns.asked
    assert ("_sips._tcp.srv.test", "SRV") not in dns.asked


def test_a_transport_in_the_uri_skips_naptr(dns: NameServer) -> None:
    assert shown(find(dns, "srv.test", transport="TCP")) == [(5, 0, "TCP", 5070, ("192.0.2.1",))]
    assert {kind for _, kind in dns.asked} == {"SRV", "A"}


def test_a_port_in_the_uri_skips_srv_too(dns: NameServer) -> None:
    assert shown(find(dns, "srv.test", port=5060)) == [(0, 0, "UDP", 5060, ("192.0.2.99",))]
    assert dns.asked == [("srv.test", "A")]
    assert shown(find(dns, "srv.test", port=5061, secure=True, reachable=TLS)) == [
        (0, 0, "TLS", 5061, ("192.0.2.99",))
    ]


def test_without_any_of_them_the_addresses_over_udp_at_the_default_port(dns: NameServer) -> None:
    found = find(dns, "plain.test")
    assert shown(found) == [(0, 0, "UDP", 5060, ("192.0.2.7", "192.0.2.8"))]
    # The SOA says that "no NAPTR" holds for 7 s, which is less than the addresses' 20.
    assert 6 <= found.ttl <= 7


def test_a_service_that_is_decidedly_not_there_is_not_looked_for_elsewhere(dns: NameServer) -> None:
    """RFC 2782: a Target of "."."""
    found = find(dns, "away.test", transport="UDP")
    assert not shown(found)
    assert not found.failed
    assert ("away.test", "A") not in dns.asked


def test_addresses_of_the_families_we_have(dns: NameServer) -> None:
    assert shown(find(dns, "srv.test", transport="UDP", reachable=ALL))[0][4] == ("192.0.2.2", "2001:db8::2")
    assert shown(find(dns, "srv.test", transport="UDP", reachable={("UDP", 6)}))[0][4] == ("2001:db8::2",)


def test_a_name_that_does_not_exist_is_remembered_as_long_as_its_soa_says(dns: NameServer) -> None:
    async def main() -> None:
        mine = resolver(dns)
        for _ in range(3):
            found = await mine.find(Question("nobody.test", 5060, "UDP", False))
            assert not found.servers
            assert not found.failed
            assert 5 <= found.ttl <= 7
        assert dns.count("nobody.test", "A") == 1

    run(main())


def test_records_are_cached_each_for_its_own_ttl(dns: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        mine = resolver(dns)
        await mine.find(Question("plain.test", 5060, "UDP", False))
        await mine.find(Question("plain.test", 5060, "TCP", False))
        await mine.find(Question("srv.test", 0, "UDP", False))
        assert dns.count("plain.test", "A") == 1
        # A server moves: 21 s later its addresses are asked for anew, the SRV record (300 s) is not.
        dns.zone(*(line.replace("192.0.2.7", "192.0.2.70") for line in ZONE))
        now = time.time
        monkeypatch.setattr("time.time", lambda: now() + 21)
        found = await mine.find(Question("plain.test", 5060, "UDP", False))
        assert "192.0.2.70" in found.servers[0].addresses
        await mine.find(Question("srv.test", 0, "UDP", False))
        assert dns.count("_sip._udp.srv.test", "SRV") == 1

    run(main())


def test_a_ttl_is_bounded(dns: NameServer) -> None:
    dns.zone("short.test. 0 IN A 192.0.2.1", "long.test. 999999 IN A 192.0.2.1")
    assert find(dns, "short.test", port=5060).ttl == resolve.TTL_MIN
    assert find(dns, "long.test", port=5060).ttl == resolve.TTL_MAX


def test_a_name_server_that_is_silent_is_no_answer(dns: NameServer) -> None:
    dns.silent = True
    found = find(dns, "plain.test", port=5060)
    assert found.failed
    assert not found.servers
    assert found.ttl == resolve.FAILED_TTL


def test_a_name_server_that_fails_is_no_answer(dns: NameServer) -> None:
    dns.refusing = True
    assert find(dns, "plain.test").failed


def test_the_second_name_server_is_asked_when_the_first_is_silent(dns: NameServer) -> None:
    with name_server(*ZONE) as other:
        dns.silent = True
        servers = tuple(HostPort("127.0.0.1", int(one.address.split(":")[1])) for one in (dns, other))
        mine = Resolver(Settings(servers=servers, timeout=0.2, hosts=Path("/dev/null")), V4)
        found = run(mine.find(Question("plain.test", 5060, "UDP", False)))
        assert shown(found)[0][4] == ("192.0.2.7", "192.0.2.8")
        assert dns.asked
        assert other.asked


def test_the_hosts_file_goes_before(dns: NameServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# ours\n127.0.0.3 plain.test gw.local  # a comment\n::1 gw.local\nnonsense here\n")

    async def main() -> None:
        mine = resolver(dns, ALL, hosts)

        async def addresses(name: str) -> tuple[str, ...]:
            return (await mine.find(Question(name, 5060, "UDP", False))).servers[0].addresses

        assert await addresses("Plain.test") == ("127.0.0.3",)
        assert await addresses("gw.local") == ("127.0.0.3", "::1")
        assert await addresses("localhost") == ("127.0.0.1", "::1")
        assert not dns.asked
        # It is looked at again, now and then.
        hosts.write_text("127.0.0.4 gw.local\n")
        now = time.monotonic
        monkeypatch.setattr("time.monotonic", lambda: now() + resolve.HOSTS_TTL)
        assert await addresses("gw.local") == ("127.0.0.4",)

    run(main())


def test_without_a_hosts_file_localhost_is_this_machine(dns: NameServer, tmp_path: Path) -> None:
    mine = resolver(dns, V4, tmp_path / "none")
    found = run(mine.find(Question("localhost", 5060, "UDP", False)))
    assert found.servers[0].addresses == ("127.0.0.1",)


@pytest.mark.parametrize("name", ["x" * 70 + ".test", "a..b", "no such host", "ü" * 100])
def test_what_is_no_name_leads_nowhere(dns: NameServer, name: str) -> None:
    assert not find(dns, name, port=5060).servers


def test_questions_run_side_by_side(dns: NameServer) -> None:
    async def main() -> list[NameFound]:
        mine = resolver(dns)
        names = ("plain.test", "srv.test", "example.test", "nobody.test")
        return await asyncio.gather(*(mine.find(Question(name, 0, "", False)) for name in names))

    assert [bool(found.servers) for found in run(main())][:3] == [True, True, True]
