"""Exchanges a datagram and takes 200 kB over TCP with each kind of option set on the sockets: `VIP TCP_PORT UDP_PORT`."""
import socket
import struct
import sys

vip, tcp_port, udp_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in vip else socket.AF_INET
BYTES = 200_000
# linux/in6.h; the socket module names them only since Python 3.13.
IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59

if family == socket.AF_INET:
    level = socket.IPPROTO_IP
    kinds = {
        "no operation": (socket.IP_OPTIONS, b"\x01\x01\x01\x01"),
        "record route": (socket.IP_OPTIONS, bytes([7, 39, 4]) + bytes(36) + b"\x00"),
        "timestamps": (socket.IP_OPTIONS, bytes([68, 36, 5, 0]) + bytes(32)),
    }
else:
    level = socket.IPPROTO_IPV6
    # Next header (the kernel's), length beyond 8 bytes, PadN.
    kinds = {
        "hop by hop": (IPV6_HOPOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0])),
        "destination": (IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0])),
        # An experimental option to be skipped (RFC 4727); the kernel refuses long padding.
        "long destination": (IPV6_DSTOPTS, bytes([0, 6, 0x1E, 52]) + bytes(52)),
    }

for name, (option, value) in kinds.items():
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(3)
        udp.setsockopt(level, option, value)
        udp.connect((vip, udp_port))
        for size in (1, 1000, 3000):
            payload = bytes(size)
            udp.send(payload)
            if udp.recv(65536) != payload:
                raise SystemExit(f"{name}: another datagram came back for {size} bytes")
    with socket.socket(family, socket.SOCK_STREAM) as tcp:
        tcp.settimeout(10)
        tcp.setsockopt(level, option, value)
        tcp.connect((vip, tcp_port))
        tcp.sendall(b"d" + struct.pack(">Q", BYTES))
        received = 0
        while received < BYTES:
            part = tcp.recv(65536)
            if not part:
                raise SystemExit(f"{name}: the connection ended after {received} bytes")
            received += len(part)
