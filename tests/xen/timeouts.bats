#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Guests that do not suspend when they are asked to: they run on, and nothing is
# left.
#     xvda  qcow2
#     xvdb  a thick logical volume
# Takes long.

load helpers
load lvm

setup_file()
{
    export disk_a disk_b
    guest_none
    vg_setup
    lv_new thick b
    disk_a=$disk_dir/a.qcow2 disk_b=$disk_a
    labguest disk "$disk_a"
    guest_on "$disk_a,qcow2,xvda,w" "/dev/$vg/b,raw,xvdb,w"
}

teardown_file()
{
    guest_end
    vg_clear
}

assert_runs_on()
{
    assert_status 1
    assert_says "the guest of domain '$guest' did not suspend in time"
    assert_sound
    assert_no_trace try
    assert_monitored
    [[ $(lvs_now) == *pool* && $(lvs_now) != *try* ]]
}

@test "it takes no note of the request, which is taken back" {
    local node

    node=/local/domain/$(domid)/control/shutdown
    xenstore-chmod "$node" n0
    snap create "$guest" name=try
    xenstore-chmod "$node" n0 "b$(domid)"
    assert_runs_on
    no_guard
    snapshot next
    assert_scanned
}

# A process that waits for a disk cannot be frozen; Linux tries for 20 s.
@test "it takes note of it, but cannot: a guard stays for a while" {
    local device="${vg/-/--}-b"

    dmsetup suspend --noflush --nolockfs "$device"
    sleep 5 # until the guest, which writes to it all the time, waits for it
    snap create -f "$guest" name=try "disks=['vdev=xvda', 'vdev=xvdb,snapshot=no']"
    dmsetup resume "$device"
    assert_runs_on
    snap create "$guest" name=try
    assert_status 3
    until_true 200 no_guard
    snapshot third
    assert_scanned
    reboots
}

# Linux acknowledges a request before it freezes its processes.
@test "all are killed while it freezes: recover waits until it has suspended" {
    local device="${vg/-/--}-b" node creator

    node=/local/domain/$(domid)/control/shutdown
    dmsetup suspend --noflush --nolockfs "$device"
    sleep 5
    xenstore-watch -n 3 "$node" >"$BATS_TEST_TMPDIR/seen" 3>&- &
    xl-snapshot create -f "$guest" name=try \
        "disks=['vdev=xvda', 'vdev=xvdb,snapshot=no']" 3>&- 2>/dev/null &
    creator=$!
    # The watch's own beginning, the request, and that it was seen.
    until_true 60 eval "[ \"\$(wc -l <$BATS_TEST_TMPDIR/seen)\" -ge 3 ]"
    pkill -KILL -f '^[^ ]*xl-snapshot (create|guard) '
    status=0
    wait "$creator" || status=$?
    assert_status 137
    { sleep 6; dmsetup resume "$device"; } 3>&- &
    snap recover "$guest"
    assert_status 0
    assert_told "may have been asked to suspend just before"
    go_on "$(newest)"
    assert_sound
    assert_no_trace try
    assert_monitored
    snapshot fourth
    assert_scanned
}
