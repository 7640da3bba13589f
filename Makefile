# SPDX-License-Identifier: GPL-2.0
#
# The ways in. Everything is done by the scripts in qemu/ and tests/; what they make lies in
# ${XDG_CACHE_HOME:-~/.cache}/shadowmm, and nothing is written into this tree.
# (Kbuild, beside this file, is what the kernel's build reads.)

# What the user gave as a text stays as it was given: a $ in a command line is the guest's.
override CMD := $(value CMD)
override APPEND := $(value APPEND)
override MODULE_ARGS := $(value MODULE_ARGS)
export NODES CPUS MEM CMA IDLE APPEND ACCEL KVER TIMEOUT MODULE_ARGS NOLOAD CMD

.PHONY: run test shell guest module userspace clean distclean help
.DEFAULT_GOAL := help
.NOTPARALLEL:

run:
	@qemu/run

test:
	@tests/run

shell:
	@qemu/guest --tty 'bash -i; true'

# GNU make knows only 0 and 2 as the end of a recipe; qemu/guest 'COMMAND' gives the very status.
guest:
	@[ "$$CMD" ] || { echo "usage: make guest CMD='COMMAND LINE'" >&2; exit 1; }
	@qemu/guest "$$CMD"

module:
	@qemu/module

userspace:
	@qemu/userspace

clean:
	@qemu/clean

distclean:
	@qemu/clean --all

help:
	@cat qemu/help.txt
