# SPDX-License-Identifier: LGPL-2.1-or-later
# For the tests of the commands where no Xen is: what is refused before it is
# looked for, and what the user then reads.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
xl_snapshot=$repo/${B:-build}/xl-snapshot
# Of libxl, where no Xen is; libxl has had its say before.
no_xen='cannot open libxl: is this the dom0 of a Xen host, and are you root?'

setup()
{
    cd "$BATS_TEST_TMPDIR" || return
}

fail()
{
    printf '%s\n' "$@" "status $status, stdout:" "$output" "stderr:" \
        "${stderr-}" >&2
    return 1
}

# xl_snapshot ARGUMENT...: into $status, $output and $stderr.
xl_snapshot()
{
    run --separate-stderr timeout 20 "$xl_snapshot" "$@"
}

# refused STATUS MESSAGE: by that one line, and with nothing on stdout.
refused()
{
    [ "$status" -eq "$1" ] || fail "not refused with $1"
    [ -z "$output" ] || fail "stdout is not empty"
    [ "$stderr" = "xl-snapshot: $2" ] || fail "expected: xl-snapshot: $2"
}

# no_xen: all was well with the request, so Xen was looked for.
no_xen()
{
    [ "$status" -eq 4 ] || fail "not refused with 4"
    [ -z "$output" ] || fail "stdout is not empty"
    [ "${stderr##*$'\n'}" = "xl-snapshot: $no_xen" ] ||
        fail "the last line is not: xl-snapshot: $no_xen"
}

# "${as_root[@]}" COMMAND...: in a user namespace, if need be.
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(/usr/bin/unshare -r)
