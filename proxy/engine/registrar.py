"""The registrar (RFC 3261 §10.3): an ordered tuple of steps up to the store, and the answer once the store decided.

Not here: who may register how many accounts, and CSeq order (the store's script, in one step with the bindings);
Path (RFC 3327), outbound (RFC 5626) and GRUU; third-party registration (refused: 403).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.engine.bindings import Sources
from proxy.engine.digest import Digest

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.events import RegisterDecided
    from proxy.sip.flow import Flow
    from proxy.sip.transaction import ServerTransaction


class Registrar:
    """Takes REGISTER requests for our own domains."""

    __slots__ = ("_core", "_digest", "_instance", "sources")

    def __init__(self, core: Core, digest: Digest, instance: str) -> None:
        """`instance` names this process and must be new at each start: the numbers of connections belong to it."""
        self._core = core
        self._digest = digest
        self._instance = instance
        self.sources = Sources()

    def on_register(self, txn: ServerTransaction, now: float) -> bool:
        """A new REGISTER. False: its domain is not ours and nothing was done (RFC 3261 §10.3 step 1: forward it).

        Else it is answered, now or by `on_decided` after the effect AskRegister.
        """
        raise NotImplementedError

    def on_decided(self, decided: RegisterDecided, now: float) -> None:
        """The store's verdict: answers the transaction."""
        raise NotImplementedError

    def source_account(self, flow: Flow, now: float, claimed: str = "") -> str:
        """The aor registered from this flow through this process, "" when none is known (see Sources.find)."""
        return self.sources.find(flow, now, claimed)

    def flow_failed(self, flow: Flow) -> None:
        """The connection is gone: nobody is registered from it any more."""
        self.sources.drop(flow)
