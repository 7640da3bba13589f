# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the kernel can be told to fail, each chance in turn, and where. To be read after lib.sh.

debug=/sys/kernel/debug
kinds="failslab fail_page_alloc fail_usercopy"

# knob NAME VALUE: of all kinds, or of those that have it.
knob() {
    local kind
    for kind in $kinds; do
        [[ ! -e $debug/$kind/$1 ]] || echo "$2" >"$debug/$kind/$1"
    done
}
knob verbose 0
knob ignore-gfp-wait N
knob ignore-gfp-highmem N
knob min-order 0

# within FROM TO KIND...: these fail only where a function between the two addresses is on the stack.
within() {
    local from=$1 to=$2 kind
    shift 2
    for kind; do
        echo "$from" >"$debug/$kind/require-start"
        echo "$to" >"$debug/$kind/require-end"
    done
}
module() { within 0xffffffffa0000000 0xffffffffff000000 "$@"; }
anywhere() { within 0 0xffffffffffffffff "$@"; }
nowhere() { within 1 2 "$@"; }
