"""SIP as values: messages, URIs, transactions. Pure: no I/O, no clock, no randomness of its own, no logging."""
