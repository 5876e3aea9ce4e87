"""Tariffs: plans, limits, reasons, and the scripts that hold them in Redis. Knows limits, not that calls are SIP."""
