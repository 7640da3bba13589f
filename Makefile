# SPDX-License-Identifier: GPL-2.0
#
# The ways in. Everything is done by the scripts in qemu/ and tests/; what they make lies in
# ${XDG_CACHE_HOME:-~/.cache}/shadowmm, and nothing is written into this tree.
# (Kbuild, beside this file, is what the kernel's build reads.)

export NODES CPUS MEM CMA APPEND ACCEL KVER TIMEOUT MODULE_ARGS NOLOAD CMD

.PHONY: run test shell guest module userspace clean help
.DEFAULT_GOAL := help
.NOTPARALLEL:

run:
	@qemu/run

test:
	@tests/run

shell:
	@qemu/guest --tty 'exec bash -i'

# GNU make knows only 0 and 2 as the end of a recipe; qemu/guest 'COMMAND' gives the very status.
guest:
	@qemu/guest "$$CMD"

module:
	@qemu/module

userspace:
	@qemu/userspace

clean:
	@qemu/clean

help:
	@cat qemu/help.txt
