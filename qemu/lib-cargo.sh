# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Cargo inside the sysroot. To be read after lib.sh.

# cargo_in PACKAGE-DIR SUBCOMMAND...: its outputs go to build/NAME, NAME being the last part of the directory, or to
# build/$outputs, where that is set.
# Once everything that a Cargo.lock names has been downloaded, the network is not asked again.
cargo_in() {
    local package=$1 name lock fetched
    name=$(basename "$package")
    shift
    lock=$repo/$package/Cargo.lock
    [[ -f $lock ]] ||
        die "$package/Cargo.lock is missing. Make it with: qemu/in-sysroot --rw sh -c 'cd $package && cargo generate-lockfile'"
    fetched=$cache/cargo/fetched-$(sha256sum <"$lock" | cut -c1-16)
    local enter=("$qemu_dir/in-sysroot" sh -c 'cd "$0" && exec "$@"' "$package" cargo)
    if [[ ! -e $fetched ]]; then
        "${enter[@]}" fetch --locked || return
        as_root touch "$fetched"
    fi
    CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/out/${outputs:-$name} "${enter[@]}" "$1" --locked "${@:2}"
}
