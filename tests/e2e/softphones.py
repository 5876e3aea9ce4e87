"""Starts real softphones of either kind, each on an address of its own, and ends them with the test."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from config.listen import Transport
from load.processes import Processes
from tests.e2e.baresip import Baresip
from tests.e2e.linphone import Linphone
from tests.e2e.net import Address, Net
from tests.e2e.service import DOMAIN, PASSWORD
from tests.e2e.softphone import Softphone

Kind = Literal["baresip", "linphone"]
TRANSPORTS: tuple[Transport, ...] = ("UDP", "TCP", "TLS")


class Softphones:
    """A `with` block ends them."""

    def __init__(self, processes: Processes, net: Net, folder: Path) -> None:
        self._processes = processes
        self._net = net
        self._folder = folder
        self._hosts = itertools.count(Net.SOFTPHONES)
        self._stack = ExitStack()

    def __enter__(self) -> Softphones:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        kind: Kind,
        user: str,
        proxy: Address,
        transport: Transport = "UDP",
        *,
        domain: str = DOMAIN,
        password: str = PASSWORD,
    ) -> Softphone:
        """Registered at `proxy`, or by way of it."""
        start = self.baresip if kind == "baresip" else self.linphone
        return start(user, proxy, transport, domain=domain, password=password)

    def baresip(
        self,
        user: str,
        proxy: Address,
        transport: Transport = "UDP",
        *,
        domain: str = DOMAIN,
        password: str = PASSWORD,
    ) -> Baresip:
        host = self._net.host(next(self._hosts))
        started = self._stack.enter_context(
            Baresip(self._processes, self._folder / user, host, user, password, proxy, transport, domain)
        )
        started.register()
        return started

    def linphone(
        self,
        user: str,
        proxy: Address,
        transport: Transport = "UDP",
        *,
        domain: str = DOMAIN,
        password: str = PASSWORD,
        session_expires: int = 0,
    ) -> Linphone:
        """`session_expires`: the session timer it asks for and answers with, in seconds; 0: it knows none."""
        host = self._net.host(next(self._hosts))
        started = self._stack.enter_context(
            Linphone(
                self._processes,
                self._folder / user,
                host,
                user,
                password,
                proxy,
                transport,
                domain,
                session_expires,
            )
        )
        started.register()
        return started
