"""Where a test plays: callgate in the middle, SIPp at its sides.

Scenarios are looked up in the test's own folder first, then among those shared by many (tests/e2e/scenarios).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from config.listen import Certificate
from config.listen import Transport as AnyTransport
from load.processes import Processes
from tests.e2e.net import Address, Net, Transport, free_port
from tests.e2e.phone import Phone
from tests.e2e.service import DOMAIN, PASSWORD, PROVIDERS, Callgate
from tests.e2e.sipp import Sipp

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Provider:
    """A telephony provider: who dials `number` reaches whatever listens at `address`."""

    number: str
    address: Address
    transport: Transport


class Providers:
    """Hands out providers, each once in a run, so that what is late in one test never disturbs another."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._next = itertools.count()

    def take(self, transport: Transport) -> Provider:
        n = next(self._next)
        assert n < PROVIDERS, "more providers are needed: raise PROVIDERS"
        return Provider(f"{'12'[transport == 'TCP']}{n:02d}", self._address(n), transport)

    def take_two(self) -> tuple[Provider, Provider]:
        """Two providers over UDP behind one number: the second is tried when the first fails."""
        n, second = next(self._next), next(self._next)
        return Provider(f"3{n:02d}", self._address(n), "UDP"), Provider("", self._address(second), "UDP")

    def _address(self, n: int) -> Address:
        return self._net.host(Net.PROVIDERS + n), self._net.sip_port


class Stage:
    """One test's."""

    def __init__(
        self,
        callgate: Callgate,
        net: Net,
        providers: Providers,
        processes: Processes,
        folder: Path,
        own: Path,
    ) -> None:
        self.callgate = callgate
        self.net = net
        self._providers = providers
        self._processes = processes
        self._folder = folder
        self._own = own

    def provider(self, transport: Transport = "UDP") -> Provider:
        return self._providers.take(transport)

    def two_providers(self) -> tuple[Provider, Provider]:
        return self._providers.take_two()

    def callee(
        self,
        provider: Provider,
        scenario: str = "callee",
        *,
        calls: int = 1,
        keys: dict[str, str] | None = None,
    ) -> Sipp:
        """Somebody answers there. Returns when it listens."""
        return Sipp(
            self._processes,
            self._folder,
            self.scenario(scenario),
            provider.address,
            transport=provider.transport,
            calls=calls,
            keys=keys,
        )

    def caller(
        self,
        scenario: str = "caller",
        *,
        who: str,
        number: str,
        host: int = Net.TRUSTED,
        port: int = 0,
        transport: Transport = "UDP",
        calls: int = 1,
        hold_s: float = 0.1,
        at_once: int = 1,
        ipv6: bool = False,
        call_id: str = "",
        through: Address | None = None,
        options: Iterable[str] = (),
        keys: dict[str, str] | None = None,
    ) -> Sipp:
        """Somebody calls `number` as `who`: by default through a trunk that may name our accounts.

        `through`: what it sends to, when that is not callgate.
        `calls` in a row, `at_once` of them at a time; each held for `hold_s`, where the scenario leaves that open.
        """
        address = "::1" if ipv6 else self.net.host(host)
        more = ["-d", str(int(hold_s * 1000)), "-l", str(at_once), "-r", "1000"]
        # The digest's uri is the Request-URI (RFC 7616 §3.4).
        uri = f"{number}@{DOMAIN}" if number else DOMAIN
        more += ["-au", who, "-ap", PASSWORD, "-auth_uri", uri]
        if call_id:
            more += ["-cid_str", call_id]
        return Sipp(
            self._processes,
            self._folder,
            self.scenario(scenario),
            (address, port or free_port(address)),
            remote=through or self.callgate.address(ipv6),
            transport=transport,
            calls=calls,
            options=[*more, *options],
            keys={"who": who, "number": number, **(keys or {})},
        )

    def registered(
        self,
        who: str,
        scenario: str = "registered-callee",
        *,
        transport: Transport = "UDP",
        ipv6: bool = False,
        call_id: str = "",
    ) -> Sipp:
        """`who` registers with digest and answers one call from the same socket. Returns when it is registered.

        A SIPp scenario lives under one Call-ID: who calls it uses that of the REGISTER (`caller(call_id=…)`).
        """
        sipp = self.caller(
            scenario,
            who=who,
            number="",
            host=Net.SOFTPHONE,
            transport=transport,
            ipv6=ipv6,
            call_id=call_id,
        )
        sipp.await_message("SIP/2.0 200")
        return sipp

    def phone(
        self,
        who: str,
        *,
        host: int = Net.SOFTPHONE,
        transport: AnyTransport = "UDP",
        ipv6: bool = False,
        certificate: Certificate | None = None,
    ) -> Phone:
        """A phone in Python, for what SIPp cannot do."""
        proxy = self.callgate.address(ipv6, transport)
        address = "::1" if ipv6 else self.net.host(host)
        return Phone(who, PASSWORD, address, proxy, transport, certificate=certificate)

    def scenario(self, name: str) -> Path:
        own = self._own / f"{name}.xml"
        return own if own.exists() else SCENARIOS / f"{name}.xml"
