#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# VHD images of tapdisk (script=block-tap), frozen under a stable path, the
# oracle writing all the while.
#
# tapdisk, tap-ctl and vhd-util are not in Debian: stand-ins in fakes/ take
# their place. All else is real: Xen's block-tap script, xen-blkback, libxl.
# So this proves what xl-snapshot does with the files and when, and that the
# guest's data goes that way; of tapdisk itself it proves nothing.
# Takes long.

load helpers
load manual
load tapdisk

setup_file()
{
    export guest disk_a disk_b disk_dir
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    disk_a=$disk_dir/a.vhd
    disk_b=$disk_dir/b.vhd
    tapdisk_setup
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$disk_dir"
    vhd-util create -n "$disk_a" -s 8
    vhd-util create -n "$disk_b" -s 8
    labguest start "$guest" --mem 112 --slots 128 \
        --disk "$(tapdisk_disk "$disk_a" xvda)" --disk "$(tapdisk_disk "$disk_b" xvdb)"
    snap create "$guest" name=gold
    gold_made
    listing >"$BATS_FILE_TMPDIR/files"
}

teardown_file()
{
    guest_end
    tapdisk_end
}

teardown()
{
    rm -f /run/fake-tapdisk/fail*
}

# What is there beside the snapshots' own directories; digests of frozen ones.
listing()
{
    local file

    for file in "$disk_dir"/* "$disk_dir"/.[!.]*; do
        [ -e "$file" ] || continue
        case $file in
        *-gold*) sha256sum "$file" ;;
        *) echo "$file" ;;
        esac
    done
}

assert_gold_only()
{
    assert_nothing_pending
    listing | diff -u "$BATS_FILE_TMPDIR/files" - >&2 ||
        fail "something is left, or changed"
    [ "$(ls "$snapshots/$guest")" = gold ] || fail "a snapshot is left"
}

# parent CHILD NAME
assert_parent()
{
    [ "$(vhd-util query -n "$1" -p)" = "$2" ] ||
        fail "the parent of $1 is: $(vhd-util query -n "$1" -p)"
}

# tapdisk has that image open, and works.
assert_served()
{
    local line pid

    line=$(tap-ctl list -t vhd -f "$1")
    pid=${line#pid=}
    pid=${pid%% *}
    case $line in
    *" state=0 "*) ;;
    *) fail "tapdisk is not at work: $line" ;;
    esac
    [ "/proc/$pid/fd/60" -ef "$1" ] || fail "tapdisk has another file open"
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    assert_sound
    assert_gold_only
}

@test "the frozen image is TARGET, the disk's path is the guest's still" {
    grep -qF "# Disk 'xvda': '$disk_a' depends on '${disk_a%.vhd}-gold.vhd'." \
        "$snapshots/$guest/gold/snapshot.cfg"
    assert_served "$disk_a"
    assert_served "$disk_b"
    assert_parent "$disk_a" "$disk_dir/a-gold.vhd"
    assert_parent "$disk_b" "$disk_dir/b-gold.vhd"
    vhd-util check -n "$disk_dir/a-gold.vhd"
    grep -q "format=vhd.*target=$disk_dir/a-gold.vhd.*source=vhd:$disk_a" \
        "$snapshots/$guest/gold/snapshot.cfg"
    xl list -l "$guest" | jq -e --arg p "vhd:$disk_a" \
        '.[0].config.disks[0] | .pdev_path == $p and .format == "raw"'
    assert_sound
    assert_monitored
    assert_gold_only
}

@test "revert, and again: the frozen images are never written" {
    local i

    for i in 1 2; do
        go_on
        snap revert "$guest" name=gold
        assert_status 0
        assert_back_at_gold
        assert_scanned
        assert_served "$disk_a"
        assert_parent "$disk_b" "$disk_dir/b-gold.vhd"
        assert_gold_only
    done
    assert_monitored
}

@test "a snapshot of the snapshot, and back" {
    local before

    snapshot second
    assert_parent "$disk_a" "$disk_dir/a-second.vhd"
    assert_parent "$disk_dir/a-second.vhd" "$disk_dir/a-gold.vhd"
    before=$(newest)
    go_on "$before"
    snap revert --keep "$guest" name=second
    assert_status 0
    assert_back_at "$before"
    assert_scanned
    vhd-util check -n "$disk_dir"/a.vhd-discarded-* -p
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_scanned
    rm -r "$disk_dir"/*-discarded-* "$disk_dir"/*-second* \
        "$snapshots/$guest/second"
    assert_gold_only
}

@test "revert when the domain is not running" {
    reverts_when_not_running
    assert_scanned
    assert_gold_only
}

@test "shutdown, and xl create with the unchanged config: the right images" {
    local number

    number=$(newest)
    labguest tell "$guest" poweroff
    until_true 60 guest_is_gone
    [ -z "$(tap-ctl list)" ] || fail "a tapdisk is left: $(tap-ctl list)"
    vhd-util check -n "$disk_a" -p
    labguest start "$guest"
    assert_scanned
    assert_not_back "$number"
    assert_served "$disk_a"
}

@test "a reboot, xl save and restore: on the right images" {
    reboots
    assert_scanned
    assert_served "$disk_a"
    saves_and_restores
    assert_served "$disk_a"
}

@test "merged into the frozen image as the manual has it, while it is shut down" {
    local number

    snapshot monday "disks=['vdev=xvda', 'vdev=xvdb,snapshot=no']" -f
    number=$(newest)
    go_on "$number"
    labguest tell "$guest" poweroff
    until_true 60 guest_is_gone
    as_written 'vhd-util coalesce'
    rm -r "$snapshots/$guest/monday"
    assert_parent "$disk_a" "$disk_dir/a-gold.vhd"
    labguest start "$guest"
    assert_scanned
    [ "$(newest)" -ge $((number + 12)) ] || fail "what was merged is gone"
    assert_gold_only
}

@test "refused: no tools, a name that exists, another directory, paused" {
    local pid minor

    mv /usr/local/sbin/vhd-util /usr/local/sbin/hidden
    snap create "$guest" name=x
    mv /usr/local/sbin/hidden /usr/local/sbin/vhd-util
    assert_refused "disk 'xvda': cannot run 'vhd-util': No such file or directory"
    touch "$disk_dir/b-x.vhd"
    snap create "$guest" name=x
    rm "$disk_dir/b-x.vhd"
    assert_refused "disk 'xvdb': target '$disk_dir/b-x.vhd' exists already"
    snap create "$guest" name=x \
        "disks=['vdev=xvda,target=/var/lib/guests/x.vhd,snapshot=external']"
    assert_refused "a VHD image finds its parent by a name relative to its own directory"
    eval "$(tap-ctl list | grep -F "$disk_a" | cut -d' ' -f1,2)"
    # shellcheck disable=SC2154
    tap-ctl pause -p "$pid" -m "$minor"
    snap create "$guest" name=x
    # shellcheck disable=SC2154
    tap-ctl unpause -p "$pid" -m "$minor"
    assert_refused "is not just running, but in state "
    snap create "$guest" name=x --internal
    assert_refused "only qcow2 images that QEMU serves can hold an internal snapshot"
}

@test "another format than vhd is refused" {
    snap create "$guest" name=x "disks=['vdev=xvda,format=raw']"
    assert_refused "disk 'xvda' is of format vhd, not raw"
}

@test "a frozen image that is gone: refused before the destroy" {
    local id

    id=$(domid)
    mv "$disk_dir/b-gold.vhd" "$disk_dir/hidden"
    snap revert "$guest" name=gold
    mv "$disk_dir/hidden" "$disk_dir/b-gold.vhd"
    assert_refused "disk 'xvdb': "
    [ "$(domid)" = "$id" ]
}

# Of two disks the calls 1 and 2 are before the pause, 3 and 4 in it.
@test "create: tapdisk does not pause, or not open the new image: undone" {
    local what code

    for what in "tap-ctl pause 5 1" "tap-ctl pause 5 4" "tap-ctl unpause 5 2" \
        "tap-ctl unpause 5 3" "tap-ctl unpause 5 4" "vhd-util snapshot 28 2"; do
        context=$what
        echo "$what" >/run/fake-tapdisk/fail
        snap create "$guest" name=try
        rm /run/fake-tapdisk/fail*
        assert_status 1
        read -r _ _ code _ <<<"$what"
        assert_says "exited with status $code"
        assert_sound
        assert_gold_only
        assert_served "$disk_a"
    done
    assert_scanned
}

@test "create: tapdisk cannot be told to go on: recover does that" {
    echo "tap-ctl unpause 5" >/run/fake-tapdisk/fail
    snap create "$guest" name=try
    assert_status 5
    until_true 120 no_guard # which tries it, too
    rm /run/fake-tapdisk/fail
    snap recover "$guest"
    assert_status 0
    assert_sound
    assert_gold_only
    assert_served "$disk_a"
    assert_scanned
}
