# SPDX-License-Identifier: GPL-2.0
"""A use after free in the shadow's memory: takes a block, gives it back, writes to it, and takes the same block
again: poison.py ORDER OFFSET. With object in front it is an object of so many bytes: poison.py object SIZE OFFSET

Ends with 0 when the block or the object came back, whatever was found."""
import fcntl
import os
import struct
import sys

ALLOC, FREE, MISUSE, KMALLOC = 0xB503, 0xB504, 0xB50D, 0xB524
GFP_KERNEL = 0xCC0
HEAD = "IIII"

objects = sys.argv[1] == "object"
size, offset = map(int, sys.argv[-2:])
# What comes back to one CPU is what this CPU gives out next.
os.sched_setaffinity(0, {0})
device = os.open("/dev/shadowmm", os.O_RDWR)


def request(number, layout, *values):
    """The struct behind its head, as the module has left it."""
    made = bytearray(struct.pack(HEAD + layout, struct.calcsize(HEAD + layout), 0, 0, 0, *values))
    fcntl.ioctl(device, number, made)
    return struct.unpack(HEAD + layout, made)[4:]


def block():
    # GFP_KERNEL, from here, and the frame is the fifth field.
    pfn = request(ALLOC, "IIiIQiIQ", 0, size, -1, 0, 0, 0, 0, 0)[4]
    return pfn * 4096, lambda: request(FREE, "QII", pfn, size, 0)


def kmalloc():
    at = request(KMALLOC, "IIiiQQQ", 0, GFP_KERNEL, -1, 0, size, 0, 0)[5]
    return at, lambda: request(KMALLOC, "IIiiQQQ", 2, 0, 0, 0, 0, at, 0)


alloc = kmalloc if objects else block
start, free = alloc()
request(MISUSE, "QII", start + offset, 0x11, 0)
print(f"at {start:#x}")
free()
request(MISUSE, "QII", start + offset, 0x22, 0)
taken = [alloc()[0]]
while taken[-1] != start and len(taken) < 5000:
    taken.append(alloc()[0])
sys.exit(taken[-1] != start)
