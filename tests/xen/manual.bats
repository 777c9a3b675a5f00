#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Commands of the manual for deleting and flattening, as they are written there
# but for the names, while the oracle writes.
# Takes long.

load helpers
load lvm

manual=/root/docs/xl-snapshot.1.pod

setup_file()
{
    guest_new
}

teardown_file()
{
    guest_end
}

setup()
{
    guest_fresh
}

# commands FIRST: the indented paragraph of the manual that begins so.
commands()
{
    awk -v first=" $1" '
        index($0, first) == 1 { on = 1 }
        on && !/^ / { exit }
        on { print; found = 1 }
        END { exit !found }' "$manual" |
        sed -e "s|/srv/web1-monday\.qcow2|$disk_dir/a-monday.qcow2|g" \
            -e "s|/srv/web1-a\.qcow2|$disk_a|g; s|/srv/web1-b\.qcow2|$disk_b|g" \
            -e "s|/srv/web1\.qcow2|$disk_a|g" \
            -e "s|/dev/vg0/web1-|/dev/$vg/root-|g; s|web1|$guest|g"
}

# as_written FIRST: runs it.
as_written()
{
    commands "$1" >"$BATS_TEST_TMPDIR/commands"
    [ -s "$BATS_TEST_TMPDIR/commands" ] || fail "the manual has no '$1'"
    bash "$BATS_TEST_TMPDIR/commands"
}

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
    as_written 'qemu-img commit -d'
    assert_one_file "$disk_a"
    labguest start "$guest"
    assert_scanned
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
