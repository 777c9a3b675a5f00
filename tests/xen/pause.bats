#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The pause, as the guest sees it, against the way an admin goes today, in one
# run. Ratios are told, not judged: timings are for benchmarks.

load helpers

setup_file()
{
    guest_new --type "${PAUSE_TYPE:-pvh}"
}

teardown_file()
{
    guest_end
}

# xl save -p, a snapshot of each disk through QEMU's monitor, xl unpause.
admin_way()
{
    local node

    xl save -p "$guest" "$BATS_TEST_TMPDIR/admin.save"
    for node in xvda-qcow2 xvdb-qcow2; do
        xl qemu-monitor-command "$guest" "snapshot_blkdev_internal $node $1"
    done
    xl unpause "$guest"
}

# seen COMMAND...: ms the guest stood still.
seen()
{
    labguest mark "$guest"
    "$@" >/dev/null 2>&1 || fail "$* failed"
    assert_sound
    labguest gap "$guest" susp
}

@test "the pause: ours, ours live, and the admin's way" {
    local i admin ours live

    for i in 1 2 3; do
        admin=$(seen admin_way "admin$i")
        ours=$(seen xl snapshot-create "$guest" "name=ours$i")
        live=$(seen xl snapshot-create --live "$guest" "name=live$i")
        printf '# guest stood still: admin %s ms, ours %s ms, live %s ms\n' \
            "$admin" "$ours" "$live" >&3
    done
    assert_scanned
}
