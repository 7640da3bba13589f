# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What holds on a machine of however many nodes. To be read after lib.sh and oracle.sh.

# json REPORT EXPRESSION: what Python makes of the report, which is called r.
# shellcheck disable=SC2086 # Words of a command line.
json() { shadowmm $1 --json | python3 -c "import json, sys; r = json.load(sys.stdin); print($2)"; }

# whole_machine NODES: the shadow has these nodes, each on the host's own, and works.
whole_machine() {
    local nodes=$1 node before
    before=$(buddyinfo)
    ends "it is sound" 0 'All invariants hold' shadowmm validate
    same "as many nodes as the host" "$nodes" "$(json nodes 'len(r["nodes"])')"
    same "each lies on the host's" "$(seq -s' ' 0 $((nodes - 1)))" "$(json nodes '*[n["host_nid"] for n in r["nodes"]]')"
    same "the region is all of the areas of the nodes" \
        "$(cat /sys/kernel/mm/cma/numa*/total_pages | awk '{ sum += $1 } END { print sum }')" "$(json status 'r["backing_pages"]')"
    for ((node = 0; node < nodes; node++)); do
        same "the area of node $node is taken" 0 "$(cat /sys/kernel/mm/cma/numa$node/available_pages)"
        same "a block of node $node" "$node" "$(json "page alloc --node $node --order 5 --gfp GFP_HIGHUSER_MOVABLE,__GFP_THISNODE" 'r["blocks"][0]["nid"]')"
        same "the nearest of node $node is itself" "$node" "$(json nodes "r['nodes'][$node]['fallback'][0]")"
    done
    check "the tour" toured
    check "a storm" "$files/storm" 3 500 7
    for log in "$files"/dmesg/*.log; do
        check "boot of $(basename "$log")" shadowmm boot --dmesg "$log"
        ends "it is sound" 0 'All invariants hold' shadowmm validate
    done
    check "boot of the host's map" shadowmm boot --host
    same "it has the host's nodes" "$nodes" "$(json nodes 'len(r["nodes"])')"
    same "and the host's distances" "$(cat /sys/devices/system/node/node*/distance)" \
        "$(json nodes '*[" ".join(map(str, n["distances"])) for n in r["nodes"]], sep="\n"')"
    check "the built-in map" shadowmm boot --builtin
    same "it gives what it gave" "$before" "$(buddyinfo)"
    same_as_the_kernel
    check "rmmod" rmmod shadowmm
    same "all areas are whole again" "$(whole_areas)" "$(areas | grep numa)"
}
