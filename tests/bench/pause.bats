#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# How long the guest stands still, as it sees it itself, in one run: the way
# an admin goes today (xl save -p, a snapshot of each disk, xl unpause), ours,
# and ours live. It tells; only the oracle judges.

load ../xen/helpers

teardown()
{
    guest_end
}

admin_way()
{
    local node

    xl save -p "$guest" "$BATS_TEST_TMPDIR/admin.save"
    for node in xvda-qcow2 xvdb-qcow2; do
        xl qemu-monitor-command "$guest" "snapshot_blkdev_internal $node $1"
    done
    xl unpause "$guest"
    rm "$BATS_TEST_TMPDIR/admin.save"
}

# still KIND COMMAND...: adds "KIND N ms", how long the guest stood still, to $row.
still()
{
    labguest mark "$guest"
    "${@:2}" >"$BATS_TEST_TMPDIR/out" 2>&1 ||
        fail "$* failed: $(cat "$BATS_TEST_TMPDIR/out")"
    assert_sound
    row+=", $1 $(labguest gap "$guest" susp) ms"
}

rounds()
{
    local round row # not i: bats's run changes that one

    for round in $(seq "${XLS_ROUNDS:-3}"); do
        row=
        still admin admin_way "admin$round"
        still ours xl snapshot-create "$guest" "name=ours$round"
        [ "$1" = PV ] ||
            still live xl snapshot-create --live "$guest" "name=live$round"
        echo "# $1: ${row#, }" >&3
    done
    assert_scanned
}

@test "the pause of a PV guest of 256 MB: the admin's way, ours" {
    guest_new --type pv --mem 256
    rounds PV
}

@test "the pause of a PVH guest of 256 MB: the admin's way, ours, ours live" {
    guest_new --type pvh --mem 256
    rounds PVH
}

@test "the pause of an HVM guest of 256 MB: the admin's way, ours, ours live" {
    guest_new --type hvm --mem 256
    rounds HVM
}
