# SPDX-License-Identifier: GPL-2.0
"""A use after free in the shadow's memory: takes a block, gives it back, writes to it, and takes the same block
again: poison.py ORDER OFFSET

Ends with 0 when the block came back, whatever was found."""
import fcntl
import os
import struct
import sys

ALLOC, FREE, MISUSE = 0xB503, 0xB504, 0xB50D
HEAD = "IIII"

order, offset = map(int, sys.argv[1:])
# What comes back to one CPU is what this CPU gives out next.
os.sched_setaffinity(0, {0})
device = os.open("/dev/shadowmm", os.O_RDWR)


def request(number, layout, *values):
    """The struct behind its head, as the module has left it."""
    made = bytearray(struct.pack(HEAD + layout, struct.calcsize(HEAD + layout), 0, 0, 0, *values))
    fcntl.ioctl(device, number, made)
    return struct.unpack(HEAD + layout, made)[4:]


def alloc():
    # GFP_KERNEL, from here, and the frame is the fifth field.
    return request(ALLOC, "IIiIQiIQ", 0, order, -1, 0, 0, 0, 0, 0)[4]


pfn = alloc()
request(MISUSE, "QII", pfn * 4096 + offset, 0x11, 0)
print(f"page {pfn}")
request(FREE, "QII", pfn, order, 0)
request(MISUSE, "QII", pfn * 4096 + offset, 0x22, 0)
taken = [alloc()]
while taken[-1] != pfn and len(taken) < 5000:
    taken.append(alloc())
sys.exit(taken[-1] != pfn)
