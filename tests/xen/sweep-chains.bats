#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with all kinds of disks whose snapshots are
# chains of files, in one domain:
#     xvda  VHD of tapdisk (a stand-in): external
#     xvdb  qcow2: external
#     xvdc  raw: an overlay
#     xvdd  qcow2: an overlay
#     xvde  qcow2: external, the second one
# Takes long.

load helpers
load sweep
load tapdisk

setup_file()
{
    export guest disk_dir disk_a disk_b
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    # Of these sweep.bash wants to see no tags.
    disk_a=$disk_dir/b.qcow2
    disk_b=$disk_dir/d.qcow2
    tapdisk_setup
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$disk_dir"
    vhd-util create -n "$disk_dir/a.vhd" -s 8
    labguest disk "$disk_a"
    labguest disk "$disk_b"
    labguest disk "$disk_dir/e.qcow2"
    truncate -s 64M "$disk_dir/c.raw"
    labguest start "$guest" --mem 112 --slots 128 \
        --disk "$(tapdisk_disk "$disk_dir/a.vhd" xvda)" \
        --disk "$disk_a,qcow2,xvdb,w" \
        --disk "format=raw,vdev=xvdc,access=rw,backendtype=qdisk,target=$disk_dir/c.raw" \
        --disk "$disk_b,qcow2,xvdd,w" --disk "$disk_dir/e.qcow2,qcow2,xvde,w"
    sweep_setup "disks=[ 'vdev=xvda,snapshot=external', 'vdev=xvdb,snapshot=external',
        'vdev=xvdc,snapshot=overlay,target=$disk_dir/c.@NAME@.ovl',
        'vdev=xvdd,snapshot=overlay,target=$disk_dir/d.@NAME@.ovl',
        'vdev=xvde,snapshot=external' ]"
}

teardown_file()
{
    guest_end
    tapdisk_end
}

setup()
{
    assert_gold_only
}

is_frozen()
{
    [[ $1 == *-gold* || $1 == */c.raw || $1 == */d.qcow2 ]]
}

# The overlays of "gold" are frozen by "try": as an admin would, who wants to go
# back all the same.
forget_try()
{
    snap revert -f "$guest" name=gold
    assert_status 0
    rm -r "${snapshots:?}/$guest/try"
    find "$disk_dir" -name '*[-.]try[-.]*' -delete
}

@test "create: at each step a fault, and nothing is left but before or after" {
    sweep create after kill-after killall-after before
}

@test "revert: at each step a fault, and nothing is left but before or after" {
    sweep revert kill-after after before
}
