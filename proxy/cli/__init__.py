"""The command line. Importing the rooms is what adds their commands."""

from __future__ import annotations

from proxy.cli import explain as _explain
from proxy.cli import payers as _payers
from proxy.cli.commands import main

__all__ = ["main"]

_ROOMS = (_explain, _payers)
