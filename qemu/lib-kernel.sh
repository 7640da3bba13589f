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
kernel=$cache/kernel/$wanted

# The release that is really there: the pin may have been replaced.
kernel_release() { cut -d' ' -f1 "$kernel/release"; }
