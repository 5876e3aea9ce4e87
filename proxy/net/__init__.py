"""Sockets: bytes in, bytes out. Knows flows and where messages end; nothing of SIP beyond that, and decides nothing."""
