"""callgate and Kamailio side by side under the same SIPp load: see load/README.md."""

from __future__ import annotations
