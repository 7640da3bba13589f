# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the suites share. A suite is a list of checks; each prints 'ok NAME' or 'not ok NAME', with
# what was seen below it, and the suite goes on.

set -u
files=/shadowmm/files
ko=/usr/lib/shadowmm/shadowmm.ko
export LC_ALL=C.UTF-8
suite=$(basename "$0")
suite=${suite#suite-}

# The kernel that this is: stock, debug or kcsan (qemu/kernel-built).
flavour=$(uname -r | sed -nE 's/.*-(debug|kcsan)-amd64$/\1/p')
flavour=${flavour:-stock}

# kmemleak: what was allocated and lost before this suite is not its affair.
leaks=/sys/kernel/debug/kmemleak
[[ ! -w $leaks ]] || echo clear >"$leaks"

kcsan=/sys/kernel/debug/kcsan

# check NAME COMMAND...: the command succeeds.
check() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok $suite: $name"
    else
        echo "not ok $suite: $name: $(printf '%q ' "$@")"
        printf '%s\n' "$said" | tail -n 40 | sed 's/^/    | /'
    fi
}

# same NAME EXPECTED FOUND: the two texts are equal.
same() {
    if [[ $2 == "$3" ]]; then
        echo "ok $suite: $1"
    else
        echo "not ok $suite: $1"
        diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | head -n 40 | sed 's/^/    | /'
    fi
}

# soon COMMAND...: waits until it succeeds, a minute at most, or five on a kernel with checks; whether it did.
soon() {
    local end=$((SECONDS + 60))
    [[ $flavour == stock ]] || ((end += 240))
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# ends NAME STATUS PATTERN COMMAND...: the command ends with this status, and says something that PATTERN
# (an extended regular expression; empty for whatever) matches, on stdout or stderr.
ends() {
    local name=$1 status=$2 pattern=$3 said got=0
    shift 3
    said=$("$@" 2>&1) || got=$?
    if ((got == status)) && { [[ -z $pattern ]] || grep -qE -- "$pattern" <<<"$said"; }; then
        echo "ok $suite: $name"
    else
        echo "not ok $suite: $name: $(printf '%q ' "$@"): status $got, not $status, or nothing like: $pattern"
        printf '%s\n' "$said" | tail -n 40 | sed 's/^/    | /'
    fi
}

# The free blocks of the shadow, as a text: all of them, also what CPUs kept at hand.
buddyinfo() {
    shadowmm drain >/dev/null
    cat /proc/shadowmm/buddyinfo
}

# settled: the free blocks when CPUs and nodes keep nothing, neither pages nor objects.
settled() {
    # The first leaves some, as drop_caches does: it ends when a round has brought little.
    shadowmm shrink >/dev/null
    shadowmm slab shrink >/dev/null
    buddyinfo
}

# comes_to NAME EXPECTED COMMAND...: what the command says comes to be this text, for what daemons have begun, and grace
# periods, are over soon.
comes_to() {
    local name=$1 expected=$2 said
    shift 2
    said_so() { said=$("$@") && [[ $said == "$expected" ]]; }
    soon said_so "$@"
    same "$name" "$expected" "$said"
    [[ $said == "$expected" ]] || left_over | sed 's/^/    | /'
}

# left_over: who may have what did not come back: spaces, slabs, and pages by what they are for.
left_over() {
    shadowmm mm list
    grep -v ':0$' /proc/shadowmm/slab/*/slabs
    grep -E '^(nr_|slabs)' /proc/shadowmm/vmstat | awk '$2 { print $1, $2 }' | paste -sd,
    tail -n +4 /proc/shadowmm/pagetypeinfo
}

# sound: all invariants of the shadow hold.
sound() { shadowmm validate | grep 'All invariants hold'; }

# vmstat NAME: a counter of /proc/shadowmm/vmstat.
vmstat() { awk -v name="$1" '$1 == name { print $2 }' /proc/shadowmm/vmstat; }

# held_pages: how many pages open files have.
held_pages() { shadowmm status --json | sed -nE 's/.*"held_pages": ([0-9]+).*/\1/p'; }

# nothing_held: nobody has a page, nor the device open, but who asks.
nothing_held() {
    [[ $(shadowmm status --json | sed -nE 's/.*"(held_pages|open_files)": ([0-9]+).*/\1 \2/p' | sort) == $'held_pages 0\nopen_files 1' ]]
}

# none_left: there is no address space. A process ends a moment before its own is gone.
no_spaces() { [[ -z $(find /proc/shadowmm/mm -mindepth 1 -maxdepth 1 -type d) ]]; }
none_left() {
    soon no_spaces && return
    shadowmm mm list
    return 1
}

# lockups_end_it: a CPU or a task that is stuck is a panic from now on.
lockups_end_it() {
    sysctl -qw kernel.softlockup_panic=1 kernel.hung_task_timeout_secs=60 kernel.hung_task_panic=1 \
        kernel.panic_on_rcu_stall=1 "$@" ||
        echo "not ok $suite: lock-ups are not looked for"
}

# kmsg: the kernel's log, also what was cleared, each line behind its number.
kmsg() { dd if=/dev/kmsg iflag=nonblock bs=8192 status=none 2>/dev/null | sed -nE 's/^[0-9]+,([0-9]+),[^;]*;/\1 /p'; }

# races ours|others: what KCSAN has reported since line $races_since of the log. A report is ours where the module is in one of
# the two stacks; below an exception or an interrupt stands who was interrupted, and has no part in it.
races_since=0
races() {
    kmsg | awk -v since="$races_since" -v wanted="$1" '
        function end() {
            if (text != "" && (ours ? "ours" : "others") == wanted) printf "%s", text
            text = ""
        }
        $1 < since { next }
        { sub(/^[0-9]+ /, "") }
        /BUG: KCSAN: / { end(); ours = 0; below = 0; text = $0 "\n"; next }
        /^=====/ { end() }
        text == "" { next }
        { text = text $0 "\n" }
        / by (task|interrupt)/ { below = 0 }
        /^ asm_/ { below = 1 }
        /\[shadowmm\]/ && !below { ours = 1 }
        END { end() }'
}

# raced: KCSAN was on all the time, and has seen no race of ours. Races of the kernel's own are counted.
raced() {
    local seen others
    seen=$(races ours) others=$(races others | grep -c 'BUG: KCSAN')
    echo "# $suite: KCSAN watched $(sed -n 's/^setup_watchpoints: //p' "$kcsan") accesses; races of the kernel's own: $others"
    [[ $others == 0 ]] || races others | sed -n 's/.*BUG: KCSAN: /#     /p'
    if [[ -z $seen ]] && grep -q '^enabled: 1' "$kcsan"; then
        echo "ok $suite: KCSAN has seen no race of the module's"
    else
        echo "not ok $suite: KCSAN has seen races of the module's, or nothing: $(grep -c 'BUG: KCSAN' <<<"$seen")"
        printf '%s\n' "$seen" | head -n 1000 | sed 's/^/    | /'
    fi
}

# toured: the tour comes to the end of each screen, which by itself it tells of alone.
toured() {
    COLUMNS=1000 shadowmm tour >/tmp/toured || return
    ! grep -B 3 'This screen ends here' /tmp/toured
}

# quiet: the kernel has complained of nothing since it was booted, but for KCSAN, whose races may be of the kernel's own, and of
# memory that a test has it take for broken (MADV_HWPOISON), and of what a suite does `on_purpose`.
complaints='WARNING: |BUG: |Oops|soft lockup|hung task|blocked for more than|detected (expedited )?stall|possible .* detected|refcount_t|Bad page|corruption|general protection|held blocks? could not|thread of node .* could not|UBSAN:'
quiet() {
    ! dmesg | grep -vF -e 'BUG: KCSAN:' -e 'hardware memory corruption' ${on_purpose:+-e "$on_purpose"} | grep -E "$complaints"
}

# areas: the pages of each CMA area that are nobody's.
areas() {
    local area
    for area in /sys/kernel/mm/cma/*; do
        echo "$(basename "$area") $(cat "$area/available_pages") of $(cat "$area/total_pages")"
    done
}

# whole_areas: the same of the nodes' when all of their pages are.
whole_areas() { areas | sed -E 's/ [0-9]+ of ([0-9]+)/ \1 of \1/' | grep numa; }

# leaked: what kmemleak has not found, but for what the kernel lost while it booted.
leaked() { awk '/^unreferenced object/ { head = $0; next } head { told = !/comm "swapper/; if (told) print head; head = "" } told' "$leaks"; }
# not_leaked: nothing is lost. kmemleak tells what it has not found twice, at least 5 seconds old: hence the wait.
not_leaked() {
    local scan
    for scan in 1 2 3; do
        sleep 6
        echo scan >"$leaks"
    done
    ! leaked | grep .
}

# owned: the pages that the module has asked for and that are not back, of which kmemleak knows nothing, once it is gone and its
# functions have no name any more. What the kernel shares among many and keeps does not count.
owners=/sys/kernel/debug/page_owner_stacks/show_stacks
owned() { awk -v RS= '/0xffffffff[a-f]/ && !/allocate_slab|stack_depot_|kasan_|pcpu_|(pgd|p4d|pud|pmd|pte)_alloc/' $owners; }
not_owned() { ! owned | grep .; }

finish() {
    [[ ! -e $kcsan ]] || raced
    [[ ! -w $leaks ]] || check "kmemleak has found nothing" not_leaked
    [[ ! -r $owners || -d /sys/module/shadowmm ]] || check "no page that the module asked for is left" not_owned
    check "the kernel has not complained" quiet
}
