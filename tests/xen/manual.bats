#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Commands of the manual for deleting and flattening, as they are written there
# but for the names, while the oracle writes.
# Takes long.

load helpers
load fresh
load lvm
load manual

assert_one_file()
{
    qemu-img info -U --output=json "$1" | jq -e '.["backing-filename"] == null'
    [ ! -e "$disk_dir/a-monday.qcow2" ]
}

@test "a disk is made one file while the guest runs, and the frozen one deleted" {
    snapshot monday "disks=['vdev=xvda,snapshot=external']"
    go_on "$(newest)"
    as_written node=
    assert_one_file "$disk_a"
    assert_scanned
    # And on it goes.
    snapshot monday2 "disks=['vdev=xvda,snapshot=external']"
    snap revert "$guest" name=monday2
    assert_status 0
    assert_scanned
}

@test "what was written since is merged while the domain is shut down" {
    snapshot monday "disks=['vdev=xvda,snapshot=external']"
    go_on "$(newest)"
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    as_written 'qemu-img commit -d /srv/web1.qcow2'
    assert_one_file "$disk_a"
    labguest start "$guest"
    assert_scanned
}

@test "of several, the stream leaves the others' files, the merge all but the newest" {
    local before number

    snapshot before "disks=['vdev=xvda,snapshot=external']"
    before=$(newest)
    go_on "$before"
    snapshot monday "disks=['vdev=xvda,snapshot=external']"
    as_written node=
    assert_one_file "$disk_a"
    snap revert "$guest" name=before
    assert_status 0
    assert_back_at "$before"
    assert_scanned
    rm -r "$snapshots/$guest/monday"
    xl qemu-monitor-command "$guest" \
        "snapshot_delete_blkdev_internal xvdb-qcow2 monday"
    snapshot monday "disks=['vdev=xvda,snapshot=external']"
    number=$(newest)
    go_on "$number"
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    as_written 'qemu-img commit -d /srv/web1.qcow2'
    [ ! -e "$disk_dir/a-monday.qcow2" ]
    qemu-img info --output=json "$disk_a" |
        jq -e --arg f "$disk_dir/a-before.qcow2" '.["full-backing-filename"] == $f'
    labguest start "$guest"
    assert_scanned
    [ "$(newest)" -ge "$number" ] || fail "what was merged is gone"
    snap revert "$guest" name=before
    assert_status 0
    assert_back_at "$before"
    assert_scanned
}

# A raw disk, and its overlay "monday".
overlaid()
{
    guest_end
    # Of one guest that has never run: the oracle compares its disks.
    rm "$disk_b"
    labguest disk "$disk_b"
    truncate -s 64M "$disk_dir/a.img"
    guest_on "format=raw,vdev=xvda,access=rw,backendtype=qdisk,target=$disk_dir/a.img" \
        "$disk_b,qcow2,xvdb,w"
    snapshot monday \
        "disks=['vdev=xvda,snapshot=overlay,target=$disk_dir/a-monday.ovl']"
}

@test "an overlay is merged into the frozen file while the domain is shut down" {
    local number

    overlaid
    number=$(newest)
    go_on "$number"
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    as_written 'qemu-img commit -d /srv/web1-monday.ovl'
    [ ! -e "$disk_dir/a-monday.ovl" ]
    labguest start "$guest"
    assert_scanned
    assert_not_back $((number + 12))
}

@test "an overlay is made one file while the guest runs, and the old one deleted" {
    local number

    overlaid
    number=$(newest)
    go_on "$number"
    as_written name=
    [ ! -e "$disk_dir/a.img" ]
    qemu-img info -U --output=json "$disk_dir/a-monday.ovl" |
        jq -e '.["backing-filename"] == null'
    assert_scanned
    guest_end
    guest_on "$disk_dir/a-monday.ovl,qcow2,xvda,w" "$disk_b,qcow2,xvdb,w"
    assert_scanned
    assert_not_back $((number + 12))
}

@test "tags are deleted while the domain is shut down" {
    snapshot before-upgrade
    guest_end
    # Its first line leaves when the domain runs.
    as_written 'xl list web1 && exit'
    [ -z "$(snapshot_tags)" ]
    [ ! -e "$snapshots/$guest/before-upgrade" ]
    labguest start "$guest"
    assert_scanned
}

@test "tags are deleted while the guest runs" {
    snapshot before-upgrade
    as_written 'xl qemu-monitor-command web1 "info block"'
    [ -z "$(snapshot_tags)" ]
    [ ! -e "$snapshots/$guest/before-upgrade" ]
    assert_scanned
}

@test "a tag is deleted by QMP" {
    snapshot before-upgrade
    as_written "{ echo '{"
    [ "$(snapshot_tags)" = before-upgrade ]
    assert_scanned
}

@test "a volume's snapshot is deleted while the guest runs" {
    local kind

    vg_setup
    for kind in thick thin; do
        guest_end
        lv_new "$kind" root
        guest_on "/dev/$vg/root,raw,xvda,w"
        snap create "$guest" name=before-upgrade
        assert_status 0
        as_written lvremove
        ! lv_exists root-before-upgrade || fail "it is there"
        assert_scanned
        guest_end
        vg_clear
        rm -r "${snapshots:?}/$guest"
    done
}
