# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# All kinds of load at once, for suites that go on for long. To be read after lib.sh.

load=()

# begin COMMAND...: it runs beside all else, in a session of its own, until end_load.
begin() {
    setsid "$@" >/dev/null 2>>/tmp/load.err &
    load+=($!)
    # Its end is not news.
    disown
}

read_all() {
    while :; do
        # Some go meanwhile.
        find /proc/shadowmm -type f -exec cat {} + >/dev/null 2>&1
        shadowmm status >/dev/null || exit
        sleep 0.5
    done
}

reclaim_all() {
    while :; do
        shadowmm drain || exit
        sleep 0.3
        shadowmm compact || exit
        sleep 0.3
        shadowmm shrink || exit
        sleep 0.5
    done >/dev/null
}

# CPUs other than the first go and come back.
switch_cpus() {
    local cpu
    while :; do
        for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
            echo 0 >"$cpu" || exit
            sleep 0.4
            echo 1 >"$cpu" || exit
            sleep 0.4
        done
    done
}

all_online() {
    local cpu
    for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
        [[ $(cat "$cpu") == 1 ]] || echo 1 >"$cpu"
    done
}

# load_goes_on: each part of the load is there; each ends when something is not as it must be.
load_goes_on() {
    local pid
    for pid in "${load[@]}"; do
        kill -0 "$pid" || return
    done
}

# end_load: all of it is killed, and what it held is back.
end_load() {
    local pid
    for pid in "${load[@]}"; do
        kill -KILL -- "-$pid"
    done 2>/dev/null
    load=()
    all_online
    soon nothing_held
}

# So that `begin bash -c` has them.
export -f read_all reclaim_all switch_cpus
