# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The running kernel as the oracle: its own boot is recorded, and the tests of core that compare
# ranges, spans, zones, zonelists, watermarks and reserves with a recorded boot run on this one. To be
# read after lib.sh.

same_as_the_kernel() {
    local test
    bash "$(dirname "$0")/record" >/tmp/record
    check "the kernel's own boot is recorded" test "$(grep -c '^Node' /tmp/record)" -ge 5
    dmesg >/tmp/log
    export SHADOWMM_BOOT_RECORD=/tmp/record SHADOWMM_BOOT_LOG=/tmp/log
    while read -r program test; do
        ends "the same map gives the same: $test" 0 '^test result: ok. 1 passed' "$files/core/$program" --exact "$test"
    done <<'TESTS'
boot_log the_same_map_gives_the_same_ranges
zone zones_are_those_of_recorded_boots
node says_what_linux_has_said_on_the_same_machines
watermark watermarks_are_those_of_recorded_boots
watermark reserves_are_those_of_recorded_boots
TESTS
    unset SHADOWMM_BOOT_RECORD SHADOWMM_BOOT_LOG
}
