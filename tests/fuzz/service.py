"""The service that tests/fuzz/soup.py runs: two configurations that it may change between, and a last one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from config.load import assemble
from config.schema import Config
from config.tariffs import Plan, Subscriber
from policies.catalog import build
from proxy.engine.snapshot import Snapshot

INSTANCE = "00c0ffee"
"""As the engine is called in this run: hexadecimal, as the server has it."""
WALL = 1_785_000_000.0
"""2026-07-25T17:20:00Z: the plans below start and end in the minutes after it."""
PLANS: dict[str, Any] = {
    "office": {
        "categories": {
            "softphone": {"call_duration": "30s", "total_duration": "5m per 1d", "fail_calls": "5 per 1h"},
            "gateway": {"lines": 3, "total_duration": "10m per 1d"},
            "group": {},
        },
        "all_workers": True,
        "group_size": 1,
    },
    "evening": {
        "categories": {"softphone": {"call_duration": "50s"}, "gateway": {"total_duration": "unlimited"}}
    },
}
OTHER_PLANS: dict[str, Any] = {
    "office": {
        "categories": {
            "softphone": {"call_duration": "10s", "success_calls": "50 per 1h"},
            "gateway": {"lines": 1, "call_duration": "40s", "total_duration": "2m per 1d"},
            "group": {},
        },
        "all_workers": True,
        "group_size": 1,
    },
    "evening": {"categories": {"softphone": {"total_duration": "20m per 1d"}}},
}


def _subscriber(name: str, mode: str, **more: Any) -> dict[str, Any]:
    return {
        "accounts": [
            {
                key: value
                for key, value in {"user": name, "password": "secret", "mode": mode, **more}.items()
                if value is not None
            }
        ],
        "activations": [
            {"plan": "office", "since": "2026-01-01", "until": "2026-07-25T17:23:20Z"},
            {"plan": "evening", "since": "2026-07-25T17:20:45Z", "until": "2026-07-25T17:22:05Z"},
        ],
    }


SUBSCRIBERS: dict[str, Any] = {
    "alice": _subscriber("alice", "softphone"),
    "bob": {**_subscriber("bob", "gateway", media="relay"), "group": {"members": ["alice"]}},
    "carol": _subscriber(
        "carol", "softphone", domain="example.net", password=None, registrar={"forward": "pbx"}
    ),
    "off": _subscriber("off", "softphone", disabled=True),
    "poor": {"accounts": [{"user": "poor", "password": "secret", "mode": "softphone"}]},
}
ALICE = _subscriber(
    "alice", "softphone", register={"trunk": "provider", "username": "4901", "password": "pw"}
)
"""As long as the service runs callgate registers her at the provider, and answers its challenges in her place."""
TRUNKS: dict[str, Any] = {
    "pbx": {"from": ["192.0.2.10/32"], "identity": "from", "targets": ["sip:192.0.2.10"]},
    "asserting": {"from": ["192.0.2.11/32"], "identity": "pai"},
    "provider": {
        "targets": ["sip:192.0.2.20", "sip:192.0.2.21:5070;transport=tcp"],
        "from": ["192.0.2.20/31"],
        "credentials": {"username": "us", "password": "secret"},
        "trusted": True,
    },
    "named": {
        "targets": [
            "sip:first.example.org",
            {"uri": "sip:second.example.org;transport=tcp", "priority": 1, "weight": 3},
        ],
    },
}


OTHER_TRUNKS: dict[str, Any] = {
    "named": {**TRUNKS["named"], "health": {"every": "20s", "failures": 1}},
    "provider": {**TRUNKS["provider"], "worker": "of-bob"},
}


@lru_cache
def snapshot(number: int, on_store_failure: str, last: bool = False) -> Snapshot:
    """One of two that a service may change between. `on_store_failure` is the same from start to end.

    `last`: with nothing that goes on for ever by itself (health checks, pings, registrations elsewhere).
    """
    config = Config.model_validate(
        {
            "domains": ["example.com", "example.net"],
            "listen": ["udp://192.0.2.1:5060"],
            "store": {"on_store_failure": on_store_failure},
            "workers": {"of-bob": {"kind": "private", "owner": "bob", "granted_to": ["group bob"]}},
            "trunks": TRUNKS | (OTHER_TRUNKS if number else {}),
            "routes": [{"match": "^9", "to": "named"}, {"match": "^[0-9]+$", "to": "provider"}],
            "auth": {"invite": ("digest", "registered_source")[number]},
            "nat": {"ping": 0.0 if last else 30.0},
            "rtpengine": {"address": "127.0.0.1:2223"},
            "session_timers": {"enabled": bool(number), "session_expires": "2m"},
            "dialog_ping": {"enabled": bool(number), "every": "5s"},
            "limits": {"transactions_max": 40, "calls_max": 8} if on_store_failure == "admit" else {},
        }
    )
    plans = {name: Plan.model_validate(plan) for name, plan in (PLANS, OTHER_PLANS)[number].items()}
    names = tuple(SUBSCRIBERS)[: len(SUBSCRIBERS) - 2 * number]
    subscribers = {
        name: Subscriber.model_validate(SUBSCRIBERS[name] if last or name != "alice" else ALICE)
        for name in names
    }
    return Snapshot(config, build(assemble(config, plans, subscribers)))
