#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A domain with disks of every kind (mixed.bash), taken and reverted ten times in
# a row, the oracle writing.
# Takes long.

load helpers
load mixed

setup_file()
{
    mixed_new
}

teardown_file()
{
    mixed_end
}

@test "internal, external, thick, thin and raw on XFS: ten times there and back" {
    local round n

    for round in {1..10}; do
        snapshot "r$round" "${mixed_disks% ]}, 'vdev=xvdc,size=16M' ]"
        n=$(newest)
        echo "$n" >"$BATS_FILE_TMPDIR/r$round"
        go_on "$n"
        snap revert "$guest" "name=r$round"
        assert_status 0
        assert_back_at "$n"
        assert_scanned
        printf '# %s\n' "$round: $stderr" >&3
    done
    [ "$(find "$disk_dir" -name 'a-r*.qcow2' | wc -l)" = 10 ]
    [ "$(find "$disk_dir/xfs" -name 'e-r*.raw' | wc -l)" = 10 ]
    [ "$(qemu-img snapshot -U -l "$disk_b" | grep -c ' r[0-9]')" = 10 ]
    [ "$(lv lvs --noheadings -o lv_name "$vg" | grep -c -- -r)" = 20 ]
    # None has overflowed.
    [ -z "$(lv lvs --noheadings -o lv_name -S lv_snapshot_invalid=1 "$vg")" ]
    assert_nothing_pending
    assert_monitored
}

@test "and back to the first and the last of them" {
    local last

    last=$(<"$BATS_FILE_TMPDIR/r10")
    snap revert "$guest" name=r1
    assert_status 0
    assert_back_at "$(<"$BATS_FILE_TMPDIR/r1")"
    assert_scanned
    snap revert "$guest" name=r10
    assert_status 0
    assert_up_at "$last" "$(<"$BATS_FILE_TMPDIR/r9")"
    assert_scanned
}
