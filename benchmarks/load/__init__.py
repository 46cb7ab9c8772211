"""Clients that load our server, made for that: they know nothing of ``coordinator`` but what is said on the wire."""
