# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Which kernel is meant, and where it lies. To be read after lib.sh.

# The pin. KVER= chooses another, by its whole release or without the flavour.
pinned=7.3.4+deb13-cloud-amd64
wanted=${KVER:-$pinned}
[[ $wanted == *-amd64 ]] || wanted+=-cloud-amd64
# Only the pin may be replaced by what the archive has; a KVER= that is not there is an error.
fallback=${KVER:+}
[[ -n ${KVER:-} ]] || fallback=yes
stock=$cache/kernel/$wanted

# KERNEL= a kernel that is built from the same source with checks: see qemu/kernel-built and qemu/config.
# Without, it is Debian's own.
flavour=${KERNEL:-}
case $flavour in
    '') ;;
    debug) fragments=(guest debug kasan) ;;
    kcsan) fragments=(guest debug kcsan) ;;
    *) die "KERNEL= is debug or kcsan, or nothing for Debian's own kernel." ;;
esac
kernel_name=$wanted${flavour:+-$flavour}
kernel=$cache/kernel/$kernel_name

# The release that is really there: the pin may have been replaced.
kernel_release() { kernel_release_of "$kernel"; }
kernel_release_of() { cut -d' ' -f1 "$1/release"; }
