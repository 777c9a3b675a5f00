#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A PVH guest with two vCPUs: create, live or not, and revert.

load helpers

setup_file()
{
    guest_new --type pvh --vcpus 2 --dirty-mb-s 2
}

teardown_file()
{
    guest_end
}

@test "create and revert of a PVH guest" {
    snapshot still
    assert_sound
    snap revert "$guest" name=still
    assert_status 0
    assert_scanned
    assert_monitored
}

# bats test_tags=long
@test "live: the guest stands still for a part of the time only; and back, twice" {
    local i

    live_is_shorter a b
    for i in 1 2; do
        go_on
        snap revert "$guest" name=b
        assert_status 0
        assert_back_at_gold
        assert_scanned
    done
    assert_monitored
}

# bats test_tags=long
@test "a reboot after a live snapshot and after a revert" {
    reboots
}
