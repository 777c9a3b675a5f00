#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The whole life of guests of each type with disks of three methods (internal,
# external, LVM): snapshot, live or not, reboot, revert, reboot, power off, start,
# revert of what does not run.
# Takes long.

load helpers
load lvm
load volumes

reboots()
{
    local id

    id=$(domid)
    labguest tell "$guest" reboot
    until_true 90 eval "! guest_is_gone && [ \"\$(domid)\" != $id ]"
    labguest ready "$guest" 180
    assert_sound
    assert_monitored
}

powers_off()
{
    labguest tell "$guest" poweroff
    until_true 90 guest_is_gone
}

reverts()
{
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_monitored
}

# whole_life TYPE [--live]
whole_life()
{
    labguest disk "$disk_dir/a.qcow2"
    labguest disk "$disk_dir/b.qcow2"
    lv_new thick c
    guest_options=(--type "$1" --mem 160 --vcpus 2)
    guest_on "$disk_dir/a.qcow2,qcow2,xvda,w" "$disk_dir/b.qcow2,qcow2,xvdb,w" \
        "/dev/$vg/c,raw,xvdc,w"
    snap create "$guest" name=gold "${@:2}" "disks=['vdev=xvdb,snapshot=external']"
    gold_made
    assert_sound
    assert_monitored
    go_on
    reboots
    reverts
    go_on
    reverts
    reboots
    powers_off
    labguest start "$guest"
    assert_scanned
    powers_off
    reverts
    powers_off
}

@test "PV" {
    whole_life pv
}

@test "PVH" {
    whole_life pvh
}

@test "PVH, live" {
    whole_life pvh --live
}

@test "HVM" {
    whole_life hvm
}

@test "HVM, live" {
    whole_life hvm --live
}
