# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts of qemu/ share: where things are kept, how the machine's tools
# and root are had, and how a stage is run.
#
# A stage makes one thing in the cache out of what it depends on:
#
#     cache/NAME          the thing, always whole: it is built as NAME.new and renamed
#     cache/NAME.stamp    a hash of all that it was made from; another hash, another build
#     cache/lock/NAME     held while it is made, so that a second run waits and then finds it
#     build/log/NAME.log  what its tools said, where build is this clone's part of the cache
#
# Everything that is said to the user goes to stderr: stdout belongs to what runs
# in the guest.

set -euo pipefail

# With stdin closed, the next file that is opened would take its place.
{ : <&0; } 2>/dev/null || exec </dev/null

qemu_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$qemu_dir")
cache=${SHADOWMM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shadowmm}
# Clones share the sysroot and the kernel, but each has its own build outputs.
build=$cache/build/$(basename "$repo")-$(printf %s "$repo" | sha256sum | cut -c1-8)
logs=$build/log
export SHADOWMM_CACHE=$cache
mkdir -p "$cache/lock" "$logs"

# --- speaking to the user ----------------------------------------------------

if [[ -t 2 ]]; then live=1; clear_line=$'\r\033[K'; else live=; clear_line=; fi

say() { printf '%s%s\n' "$clear_line" "$*" >&2; }

die() { say "shadowmm: $*"; exit 1; }

# --- the machine's tools and root --------------------------------------------

# Runs a command as root: as it is, or through sudo.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -- "$@"
    fi
}

# Whether as_root will succeed; may ask for sudo's password, which sudo then remembers.
have_root() {
    ((EUID == 0)) && return
    command -v sudo >/dev/null || return
    sudo -n true 2>/dev/null && return
    [[ -t 0 ]] || return
    say "shadowmm: root is needed to install packages and to enter a Debian sysroot."
    sudo -v
}

need_root() {
    have_root || die "this step makes or enters a Debian sysroot and needs root: run it as root, or after 'sudo -v'."
}

# need_tools TOOL=PACKAGE...: installs what is missing, or prints the one command that does.
need_tools() {
    local pair packages=()
    for pair; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
    done
    ((${#packages[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "this machine lacks: ${packages[*]} (Debian's names). Install them and try again."
    local install="apt-get install -y --no-install-recommends ${packages[*]}"
    have_root || die "this machine lacks: ${packages[*]}. Type: sudo $install"
    install_tools "$install" "${packages[@]}"
}

# What the machine itself has to have: all else is in the sysroot.
need_machine_tools() { need_tools mmdebstrap=mmdebstrap qemu-system-x86_64=qemu-system-x86; }

install_tools() {
    local install=$1 log=$logs/tools.log
    shift
    say "==> tools: installing $* (log: $log)"
    {
        flock 9
        as_root env DEBIAN_FRONTEND=noninteractive sh -c "$install || { apt-get update && $install; }"
    } 9>"$cache/lock/tools" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        die "apt could not install them. Type: sudo sh -c 'apt-get update && $install', and look at what it says."
    }
}

# --- side by side ---------------------------------------------------------------

# start_jobs: from now on jobs are process groups of their own, so that whatever ends this script can end them with
# their children.
jobs=() failed_jobs=()
start_jobs() {
    set -m
    trap 'end_jobs; close_board' EXIT
    trap 'exit 130' INT TERM
}

# job COMMAND...: runs it beside this script, as the last of $jobs. A program, for bash loses count of what its own
# functions start where jobs are groups.
job() {
    "$@" </dev/null &
    jobs+=($!)
}

# wait_for_job [PID]: until that one, or any, has ended and is none of $jobs any more, but one of $failed_jobs where it failed.
wait_for_job() {
    local ended job left
    while ((${#jobs[@]})) && [[ -z ${1:-} || " ${jobs[*]} " == *" $1 "* ]]; do
        ended='' left=()
        wait -n -p ended "${jobs[@]}" || failed_jobs+=("$ended")
        for job in "${jobs[@]}"; do [[ $job == "$ended" ]] || left+=("$job"); done
        jobs=("${left[@]}")
        [[ ${1:-} ]] || break
    done
}

end_jobs() {
    local job
    for job in "${jobs[@]}"; do
        kill -TERM -- "-$job" 2>/dev/null || true
    done
}

# --- stages -------------------------------------------------------------------

# The board is a directory with one file for each stage under way; the script that opened it
# draws them all in one line, however many scripts run beside each other.
own_board=
open_board() {
    [[ -z ${SHADOWMM_BOARD:-} ]] || return 0
    SHADOWMM_BOARD=$(mktemp -d)
    export SHADOWMM_BOARD
    own_board=yes ticker=
    if [[ $live ]]; then
        tick &
        ticker=$!
    fi
    trap close_board EXIT
}

close_board() {
    [[ $own_board ]] || return 0
    rm -rf "$SHADOWMM_BOARD"
    [[ $ticker ]] || return 0
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    printf '%s' "$clear_line" >&2
}

tick() {
    local stage line since
    while sleep 1 && [[ -d $SHADOWMM_BOARD ]]; do
        line=
        for stage in "$SHADOWMM_BOARD"/*; do
            since=$(cat "$stage" 2>/dev/null) || continue
            line+="    $(basename "$stage") $(($(date +%s) - since)) s: $(last_words "$(basename "$stage")")"
        done
        [[ -z $line ]] || printf '%s%.*s' "$clear_line" "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$line" >&2
    done
}

last_words() { tail -c 300 "$logs/$1.log" 2>/dev/null | tr '\r\t' '\n ' | tail -n 1 | tr -cd '[:print:]' | cut -c1-40; }

# run_logged NAME WHAT HINT COMMAND...: runs it with its output in the log; on failure shows the log's end.
run_logged() {
    local name=$1 what=$2 hint=$3 log=$logs/$1.log start=$SECONDS rc=0
    shift 3
    open_board
    say "==> $name: $what (log: $log)"
    date +%s >"$SHADOWMM_BOARD/$name"
    # Not "|| rc=$?": bash runs what stands before || without -e.
    set +e
    (set -e; "$@") >"$log" 2>&1 </dev/null
    rc=$?
    set -e
    rm -f "$SHADOWMM_BOARD/$name"
    if ((rc)); then
        say "==> $name: FAILED after $((SECONDS - start)) s; the end of $log:"
        tail -n 30 "$log" | sed 's/^/    | /' >&2
        say "==> $name: $hint"
        return "$rc"
    fi
    say "==> $name: done in $((SECONDS - start)) s"
    [[ -z ${SHADOWMM_TIMES:-} ]] || echo "$name $((SECONDS - start))" >>"$SHADOWMM_TIMES"
}

# hold NAME: takes the lock of that name for the rest of this shell.
hold() {
    local fd
    exec {fd}>"$cache/lock/${1//\//-}"
    flock -n "$fd" && return
    say "==> $(basename "${1%.use}" "-$(basename "$build")"): waiting for another run that is making or using it"
    flock "$fd"
}

# use NAME: keeps what a stage made from being replaced for the rest of this shell.
use() {
    local fd
    exec {fd}>"$cache/lock/${1//\//-}.use"
    flock --shared "$fd"
}

# stage NAME KEY WHAT HINT COMMAND...: makes cache/NAME by COMMAND, unless its stamp says KEY.
# COMMAND finds in $new the directory or file that it has to make.
stage() {
    local name=$1 key=$2
    local target=$cache/$name
    is_fresh "$target" "$key" && return
    (
        hold "$name"
        is_fresh "$target" "$key" && exit
        new=$target.new
        mkdir -p "$(dirname "$target")"
        as_root rm -rf --one-file-system "$new" "$target.old"
        run_logged "${name%%/*}" "$3" "$4" "${@:5}"
        hold "$name.use"
        rm -f "$target.stamp"
        [[ ! -e $target ]] || mv -T "$target" "$target.old"
        mv -T "$new" "$target"
        printf '%s\n' "$key" >"$target.stamp"
        as_root rm -rf --one-file-system "$target.old"
    )
}

is_fresh() { [[ -e $1 && $(cat "$1.stamp" 2>/dev/null) == "$2" ]]; }

# update NAME KEY WHAT HINT COMMAND...: brings this clone's build/NAME up to date by COMMAND, whose own
# tools know what to make again, unless its stamp says KEY.
update() {
    local stamp=$build/$1.stamp
    (
        hold "$1-$(basename "$build")"
        [[ $(cat "$stamp" 2>/dev/null) != "$2" ]] || exit 0
        rm -f "$stamp"
        run_logged "${1%%-*}" "$3" "$4" "${@:5}"
        printf '%s\n' "$2" >"$stamp"
    )
}

# The hash of all sources below these paths of the repository, but for what Cargo was told to make there by hand.
sources_key() {
    local path
    for path; do
        [[ -e $repo/$path ]] || die "the tree has no $path."
    done
    (cd "$repo" && find "$@" -name target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

# key_of WORD...: the hash of these words; a word @FILE stands for that file's content.
key_of() {
    local word
    for word; do
        if [[ $word == @* ]]; then cat -- "${word#@}"; else printf '%s\n' "$word"; fi
    done | sha256sum | cut -c1-16
}

# boot_settings SUITE: exports the words of a suite's own '# boot:' line, such as CMA=0; a '+' in one is a space.
boot_settings() {
    local setting
    while read -r setting; do
        export "${setting//+/ }"
    done < <(sed -n '1,30s/^# boot: //p' "$1" | tr ' ' '\n')
}
