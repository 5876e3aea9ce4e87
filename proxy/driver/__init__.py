"""Performs what the engine asks for, and feeds it what happens. `Driver` is the loop's hot path, `Pulse` watches it."""

from __future__ import annotations

from proxy.driver.driver import Driver
from proxy.driver.pulse import Pulse

__all__ = ["Driver", "Pulse"]
