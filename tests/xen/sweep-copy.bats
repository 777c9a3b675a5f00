#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with disks that are copied, raw behind a
# loop device and VHD served by QEMU, and an internal snapshot beside them.
# Takes long.

load helpers
load sweep
load copy

setup_file()
{
    export disk_a disk_b
    fs_new xfs 512M
    # What sweep.bash looks at.
    disk_dir=$fs disk_a=$fs/a.raw disk_b=$fs/b.qcow2
    truncate -s 64M "$disk_a"
    labguest disk "$disk_b"
    qemu-img create -q -f vpc -o subformat=dynamic,force_size "$fs/c.vhd" 64M
    labguest start "$guest" --mem 112 --disk "$disk_a,raw,xvda,w" \
        --disk "$disk_b,qcow2,xvdb,w" --disk "$fs/c.vhd,vhd,xvdc,w"
    sweep_setup
}

teardown_file()
{
    disk_dir=$(dirname "$fs")
    fs_end
}

setup()
{
    assert_gold_only
}

@test "create: at each step a fault, and nothing is left but before or after" {
    sweep create killall-after after kill-after before
}

@test "revert: at each step a fault, and nothing is left but before or after" {
    sweep revert after kill-after before
}
