#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks of every kind in one domain, frozen at one instant (mixed.bash), and a
# raw image under QEMU that gets an overlay, the oracle writing to all of them.
# Takes minutes.

load helpers
load mixed

setup_file()
{
    export disks
    mkdir -p /var/lib/guests
    truncate -s 64M /var/lib/guests/f.raw
    mixed_new --disk \
        "format=raw,vdev=xvdf,access=rw,backendtype=qdisk,target=/var/lib/guests/f.raw"
    disks="${mixed_disks% ]}, 'vdev=xvdf,snapshot=overlay,target=$disk_dir/f-gold.qcow2' ]"
    snap create "$guest" name=gold "$disks"
    gold_made
}

teardown_file()
{
    mixed_end
    rm -f /var/lib/guests/f.raw
}

@test "all are there, each in its way" {
    assert_sound
    [ -f "$disk_dir/a-gold.qcow2" ]
    qemu-img snapshot -U -l "$disk_b" | grep -q ' gold '
    lvs "$vg/thick-gold" "$vg/thin-gold" 3>&- 4>&-
    [ -f "$disk_dir/xfs/e-gold.raw" ]
    [ -f "$disk_dir/f-gold.qcow2" ]
    # Internal, thin and copied ones stand for themselves.
    diff - <(grep 'depends on' "$snapshots/$guest/gold/snapshot.cfg" | sort) <<END
# Disk 'xvda': '$disk_a' depends on '$disk_dir/a-gold.qcow2'.
# Disk 'xvdc': '/dev/$vg/thick-gold' depends on '/dev/$vg/thick'.
# Disk 'xvdf': '$disk_dir/f-gold.qcow2' depends on '/var/lib/guests/f.raw'.
END
    assert_nothing_pending
    assert_monitored
}

@test "back, twice, to one instant" {
    local i

    for i in 1 2; do
        go_on
        snap revert "$guest" name=gold
        assert_status 0
        assert_back_at_gold
        assert_scanned
    done
}

# bats test_tags=long
@test "it reboots, and all disks are the right ones" {
    reboots
    assert_scanned
    snap revert "$guest" name=gold
    assert_status 0
    assert_scanned
}

# bats test_tags=long
@test "when one disk cannot be snapshotted, no other one is" {
    lvcreate -qq -y -Wn -L 8M -n thick-try "$vg" 3>&- 4>&-
    snap create "$guest" name=try "${disks//gold/try}"
    assert_status 4
    assert_says "logical volume '$vg/thick-try' exists already"
    lvremove -qq -y "$vg/thick-try" 3>&- 4>&-
    assert_no_trace try
    [ -z "$(find "$disk_dir" -name '*try*')" ]
    assert_sound
}

# bats test_tags=long
@test "when the last group fails in the pause, the others are undone" {
    run env XLSNAP_FAULT=disk-settle:after "$faulty" create "$guest" name=try \
        "${disks//gold/try}"
    assert_status 1
    assert_no_trace try
    assert_names_served
    [ -z "$(find "$disk_dir" -name '*try*' -o -name '.xl-snapshot*')" ]
    run ! grep -q try < <(lvs --noheadings -o lv_name "$vg" 3>&- 4>&-)
    assert_scanned
}

# What comes before it in the pause makes a tag of the same name.
@test "when QEMU refuses one disk of the transaction, all is undone" {
    program lvconvert <<END
xl qemu-monitor-command $guest 'snapshot_blkdev_internal xvdb-qcow2 try'
exec /sbin/lvconvert "\$@"
END
    snap_with_fakes create "$guest" name=try "${disks//gold/try}"
    assert_status 1
    assert_says "Snapshot with name 'try' already exists"
    assert_names_served
    assert_sound
    assert_nothing_pending
    [ ! -e "$snapshots/$guest/try" ]
    [ -z "$(find "$disk_dir" -name '*try*' -o -name '.xl-snapshot*')" ]
    run ! grep -q try < <(lvs --noheadings -o lv_name "$vg" 3>&- 4>&-)
    # It is not ours.
    qemu-img snapshot -U -l "$disk_b" | grep -q ' try '
    xl qemu-monitor-command "$guest" \
        'snapshot_delete_blkdev_internal xvdb-qcow2 try'
    assert_no_trace try
    assert_scanned
}
