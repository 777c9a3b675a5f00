#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Twenty times create and revert in a row, the oracle writing.
# Takes long.

load helpers

setup_file()
{
    guest_new --interval 20
}

teardown_file()
{
    guest_end
}

@test "20 times create and revert in a row, the oracle silent" {
    local round n # not i: bats's run changes that one

    for round in {1..20}; do
        snapshot "n$round"
        n=$(newest)
        echo "$n" >"$BATS_FILE_TMPDIR/n$round"
        go_on "$n"
        snap revert "$guest" "name=n$round"
        assert_status 0
        assert_back_at "$n"
        printf '# %s\n' "$round: $stderr" >&3
    done
    assert_scanned
    [ "$(snapshot_tags | wc -l)" -eq 40 ]
    assert_nothing_pending
    assert_monitored
}

@test "back to the first of twenty snapshots, and to the last" {
    local last

    last=$(<"$BATS_FILE_TMPDIR/n20")
    snap revert "$guest" name=n1
    assert_status 0
    assert_back_at "$(<"$BATS_FILE_TMPDIR/n1")"
    assert_scanned
    snap revert "$guest" name=n20
    assert_status 0
    assert_up_at "$last" "$(<"$BATS_FILE_TMPDIR/n19")"
    assert_scanned
}
