"""Ties the layers together into a running callgate: configuration, store, engine, sockets, signals."""
