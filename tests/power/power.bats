#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The host loses its power, with all that its disks had not yet been told to flush
# (lab start --volatile): at steps of create and revert, and right after their
# success. It boots again; one snapshot-recover, and things are as before or as
# after, the guest goes on, and has all that it had written.
#
# XLS_SWEEP=all: each step, with a disk of every kind, the cache lost whole and lost
# in pieces in turn; else one step a day, with internal snapshots.

bats_require_minimum_version 1.5.0

setup_file()
{
    export LAB_NAME=power-$$ owner=$$ kind=internal
    [ "${XLS_SWEEP-}" != all ] || kind=mixed
    lab start --volatile --owner "$owner" >&2
    lab install >&2
    dom0 mkdir -p /usr/local/lib/xl-snapshot-tests
    lab put "$top/build-faults/xl-snapshot" \
        /usr/local/lib/xl-snapshot-tests/xl-snapshot
    lab put "$top/tests/xen" /root/xen
    lab put "$top/tests/power" /root/power
    dom0 /root/power/in-dom0 prepare "$kind"
}

teardown_file()
{
    lab clean
}

top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

# bats waits for all who hold its descriptor 3.
lab()
{
    "$top/tests/lab/lab" "$@" 3>&-
}

dom0()
{
    lab run -- "$@" </dev/null
}

# cut COMMAND POINT before|after: that must come of it.
cut()
{
    local records first last torn=0

    records=$(dom0 /root/power/in-dom0 cut "$1" "$2" | grep -x '[0-9]*')
    ! lab status >/dev/null || {
        echo "$1, $2: the power is on" >&2
        return 1
    }
    first=$(head -n 1 <<<"$records")
    last=$(tail -n 1 <<<"$records")
    [ "$first" -gt 0 ]
    # Another cache is lost whole each time, and in other pieces.
    [ $((first % 2)) -eq 0 ] || torn=$first
    lab start --volatile --again --torn "$torn" --owner "$owner" >&2
    dom0 /root/power/in-dom0 check "$1" "$first" "$last" "$3"
    echo "# $1, $2$([ "$torn" = 0 ] || echo ", cache torn"): $3" >&3
}

# sweep COMMAND STEP: from that step on things are to be as after.
sweep()
{
    local points point day outcome=before n=0

    points=$(dom0 /root/power/in-dom0 steps "$1")
    day=$((10#$(date +%j) % $(wc -w <<<"$points")))
    for point in $points; do
        [ "$point" != "$2" ] || outcome=after
        if [ "${XLS_SWEEP-}" = all ] || [ "$n" -eq "$day" ]; then
            cut "$1" "$point:cut-after" "$outcome"
        fi
        n=$((n + 1))
    done
    [ "$n" -ge 7 ]
    [ "$outcome" = after ]
}

@test "create: the power goes at a step" {
    sweep create publish
}

@test "create: the power goes when it has succeeded" {
    cut create success after
}

@test "revert: the power goes at a step" {
    sweep revert no-return
}

@test "revert: the power goes when it has succeeded" {
    cut revert success after
}
