#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The whole life of guests of each type with disks of every kind: snapshot, live
# or not, reboot, revert, reboot, power off, start, revert of what does not run.
#     xvda  qcow2: internal
#     xvdb  qcow2: external
#     xvdc  a thick logical volume, on blkback
#     xvdd  a raw file behind a loop device, on XFS: a copy
#     xvde  a thin logical volume, served by QEMU
#     xvdf  a raw file, served by QEMU: an overlay
# Takes long.

load helpers
load lvm
load volumes

xfs=/var/lib/guests/life-xfs

setup_file()
{
    guest_none
    vg_setup
    mkdir -p "$xfs"
    truncate -s 512M "$xfs.img"
    mkfs.xfs -q -f "$xfs.img"
    mount -o loop "$xfs.img" "$xfs"
}

teardown_file()
{
    guest_end
    assert_vg_whole
    vg_clear
    umount "$xfs"
    rm -r "$xfs" "$xfs.img"
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

# make_disks: sets $disks, as in xl.cfg.
make_disks()
{
    rm -f "$xfs"/*
    labguest disk "$disk_dir/a.qcow2"
    labguest disk "$disk_dir/b.qcow2"
    lv_new thick c
    truncate -s 64M "$xfs/d.raw" "$disk_dir/f.raw"
    lv_new thin e
    disks=("$disk_dir/a.qcow2,qcow2,xvda,w" "$disk_dir/b.qcow2,qcow2,xvdb,w"
        "/dev/$vg/c,raw,xvdc,w" "$xfs/d.raw,raw,xvdd,w"
        "/dev/$vg/e,raw,xvde,w,backendtype=qdisk"
        "format=raw,vdev=xvdf,access=rw,backendtype=qdisk,target=$disk_dir/f.raw")
}

# whole_life TYPE [--live]
whole_life()
{
    local disks number

    make_disks
    guest_options=(--type "$1" --mem 160 --vcpus 2)
    guest_on "${disks[@]}"
    snap create "$guest" name=gold "${@:2}" "disks=[
        'vdev=xvdb,snapshot=external',
        'vdev=xvdf,snapshot=overlay,target=$disk_dir/f.ovl' ]"
    gold_made
    assert_sound
    assert_monitored
    go_on
    reboots
    reverts
    go_on
    reverts
    reboots
    number=$(newest)
    powers_off
    # As the manual says of an overlay.
    disks[5]="format=qcow2,vdev=xvdf,access=rw,target=$disk_dir/f.ovl"
    guest_on "${disks[@]}"
    assert_scanned
    assert_not_back "$number"
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
