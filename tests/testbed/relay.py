"""The delayed link of one host: carries every frame between a bridge (by a TAP) and the host's veth, some time later.

hosts.py starts it as a program, since not every kernel has ``tc netem``; the TAP goes when it ends. Frames keep their
virtio-net headers on both sides, without which checksums and large frames that the hardware would finish are broken.
usage: relay.py VETH TAP DELAY_MS LOSS_PERCENT     ("ready" on stdout when both ends are open)
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import selectors
import socket
import struct
import sys
import time

_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_OFFLOADS = 0x1 | 0x2 | 0x4  # checksums, large frames of TCP over IPv4 and IPv6
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_ETH_P_ALL = 3
_FRAME_BYTES = 70000
_AT_ONCE = 256


def _open_tap(name: str) -> int:
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(tap, _TUNSETOFFLOAD, _OFFLOADS)
    return tap


def _open_veth(name: str) -> socket.socket:
    veth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    veth.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    veth.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    veth.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    veth.bind((name, _ETH_P_ALL))
    veth.setblocking(False)
    return veth


def main(veth_name: str, tap_name: str, delay_ms: str, loss_percent: str) -> None:
    tap, veth = _open_tap(tap_name), _open_veth(veth_name)
    delay_s, loss = float(delay_ms) / 1000, float(loss_percent) / 100
    selector = selectors.DefaultSelector()
    selector.register(tap, selectors.EVENT_READ)
    selector.register(veth, selectors.EVENT_READ)
    waiting: list[tuple[float, int, bool, bytes]] = []  # due, number, goes to the host, frame
    number = 0
    print("ready", flush=True)
    while True:
        timeout_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(timeout_s):
            for _ in range(_AT_ONCE):
                try:
                    frame = os.read(key.fd, _FRAME_BYTES)
                except BlockingIOError:
                    break
                if not loss or random.random() >= loss:
                    number += 1
                    heapq.heappush(waiting, (time.monotonic() + delay_s, number, key.fd == tap, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to_host, frame = heapq.heappop(waiting)
            try:
                os.write(veth.fileno() if to_host else tap, frame)
            except OSError as error:  # a frame lost is what networks do
                print("lost a frame:", error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"the link has gone: {error}")
