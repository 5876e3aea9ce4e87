"""How much is played: `make limits` sets LIMITS=long, else it is the short form that goes with all other tests."""

from __future__ import annotations

import os

LONG = os.environ.get("LIMITS") == "long"
