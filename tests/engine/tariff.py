"""Tariffs that change under running calls, and what is looked at then."""

from __future__ import annotations

from datetime import UTC, datetime

from policies.account import Limits
from proxy.engine.effects import LimitsChanged
from proxy.sip.message import Request
from tests.engine.world import WALL, Phone, World


def plans(softphone: str, more: str = "") -> str:
    """The plan `office` with these options for softphones."""
    gateway = "{lines: 5, call_duration: 1h, total_duration: 10h per 1d}"
    return f"plans:\n  office:\n    categories:\n      softphone: {{{softphone}}}\n      gateway: {gateway}\n{more}"


def bought(*activations: str) -> str:
    """alice's activations."""
    return f"""
subscribers:
  alice:
    accounts: [{{user: alice, password: secret, mode: softphone}}]
    activations: [{", ".join(activations)}]
"""


def at(seconds: float) -> str:
    """The moment at this engine time, as files write it."""
    return datetime.fromtimestamp(WALL + seconds, UTC).isoformat().replace("+00:00", "Z")


def cut_for(reason: str, *phones: Phone) -> list[Request]:
    """Each side gets one BYE that says why, and answers it."""
    byes = []
    for phone in phones:
        [bye] = phone.requests()
        assert bye.method == "BYE"
        assert bye.value("reason") == f'SIP ;cause=402 ;text="{reason}"'
        phone.answer(bye, 200, "OK")
        byes.append(bye)
    return byes


def changed(world: World) -> list[Limits]:
    return [effect.limits for effect in world.of(LimitsChanged)]


def waits(world: World) -> bool:
    """For an activation to start or end."""
    return world.engine.core.plans_timer is not None
