"""The command line: `callgate serve`, `check`, `calls`, `hangup`, `demo`."""

from __future__ import annotations

from proxy.cli.commands import main

__all__ = ["main"]
