"""A callgate whose plans and subscribers the test writes whole, for tariffs that `Tariff` cannot say."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from load.processes import Processes
from proxy.app.control import ask
from tests.e2e.service import PASSWORD, Callgate, Settings, write_yaml


class Files(Callgate):
    """`plans` and `subscribers` are what stands in the files; `rewrite` changes them."""

    def __init__(
        self, processes: Processes, folder: Path, settings: Settings, plans: Settings, subscribers: Settings
    ) -> None:
        self.plans = plans
        self.subscribers = subscribers
        super().__init__(processes, folder, settings, {})

    def write(self) -> None:
        write_yaml(self.config, self.settings)
        write_yaml(self.folder / "plans.yaml", {"plans": self.plans})
        write_yaml(self.folder / "subscribers.yaml", {"subscribers": self.subscribers})

    def reload_and_wait(self) -> float:
        """Has it read its files again; returns when it had, in Unix seconds."""
        self.write()
        found = ask(self.folder / "admin.sock", "POST", "/reload")
        assert found["reloaded"], found["problems"]
        return time.time()


def subscriber(*users: str, plan: str = "", mode: str = "softphone", **more: object) -> Settings:
    """One with these accounts and, where it is named, this plan."""
    activations = [{"plan": plan, "since": "2020-01-01"}] if plan else []
    accounts = [{"user": user, "password": PASSWORD, "mode": mode} for user in users]
    return {"accounts": accounts, "activations": activations, **more}


def moment(seconds: float) -> str:
    """The whole second next to so many seconds from now, as files write it."""
    return datetime.fromtimestamp(round(time.time() + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
