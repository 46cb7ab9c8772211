"""What one message may be: the limits that both ends hold when they read and when they write.

codec and reader hold to them, client and call take them as defaults. Numbers only.
"""

from __future__ import annotations

#: bytes of a message, values inside each other, values in all
BODY_BYTES = 4 << 20
DEPTH = 32
VALUES = 100_000
#: characters of a fault's words, bytes of a method's name
FAULT_CHARS = 64 << 10
METHOD_BYTES = 255
