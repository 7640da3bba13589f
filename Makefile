# SPDX-License-Identifier: GPL-2.0
#
# The ways in. Everything is done by the scripts in qemu/ and tests/; what they make lies in
# ${XDG_CACHE_HOME:-~/.cache}/shadowmm, and nothing is written into this tree.
# (Kbuild, beside this file, is what the kernel's build reads.)

# What the user gave as a text stays as it was given: a $ in a command line is the guest's.
override CMD := $(value CMD)
override APPEND := $(value APPEND)
override MODULE_ARGS := $(value MODULE_ARGS)
export NODES CPUS MEM CMA IDLE APPEND ACCEL KVER KERNEL TIMEOUT LANES MODULE_ARGS NOLOAD STRESS_NG CMD
export FUZZ_MIN FUZZ_SEED TORTURE_MIN SOAK_MIN

.PHONY: run test test-full fuzz fuzz-guest torture soak shell guest module userspace clean distclean help
.DEFAULT_GOAL := help
.NOTPARALLEL:

run:
	@qemu/run

test:
	@tests/run

test-full:
	@tests/full

# Core under libFuzzer, FUZZ_MIN minutes for each of the targets (or FUZZ_TARGETS="buddy slab").
fuzz:
	@tests/fuzz/run $(FUZZ_TARGETS)

# For long, what `make test` does for seconds.
fuzz-guest:
	@tests/vm/long fuzz "$${FUZZ_MIN:-20}"

torture:
	@tests/vm/long torture "$${TORTURE_MIN:-10}"

soak:
	@tests/vm/long soak "$${SOAK_MIN:-30}"

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
