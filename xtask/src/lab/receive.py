"""Makes a veth end take the frames that the other end's XDP program sends: turns `PIN DEVICE` into a pass program on the device.

The kernel delivers XDP_TX frames over a veth pair only where the receiving end runs an XDP program too
(drivers/net/veth.c, veth_xdp_flush). Two instructions are enough, and need no compiler.
"""
import ctypes
import os
import struct
import subprocess
import sys

BPF_PROG_LOAD, BPF_OBJ_PIN = 5, 6
BPF_PROG_TYPE_XDP, XDP_PASS = 6, 2
# Frames in several buffers too: without it the kernel refuses the program where the MTU is larger than a page.
BPF_F_XDP_HAS_FRAGS = 1 << 5
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]

pin, device = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return result


# r0 = XDP_PASS; exit
instructions = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, XDP_PASS, 0x95, 0, 0, 0))
licence = ctypes.create_string_buffer(b"GPL")
load = struct.pack("<IIQQ", BPF_PROG_TYPE_XDP, 2, ctypes.addressof(instructions), ctypes.addressof(licence))
# log_level, log_size, log_buf, kern_version, prog_flags
load += struct.pack("<IIQII", 0, 0, 0, 0, BPF_F_XDP_HAS_FRAGS)
program = bpf(BPF_PROG_LOAD, load + bytes(80))
os.makedirs(os.path.dirname(pin), exist_ok=True)
path = ctypes.create_string_buffer(pin.encode())
bpf(BPF_OBJ_PIN, struct.pack("<QI", ctypes.addressof(path), program) + bytes(4))
subprocess.run(["ip", "link", "set", "dev", device, "xdpdrv", "pinned", pin], check=True)
os.unlink(pin)
