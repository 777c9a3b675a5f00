#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Copies where the file system shares no blocks (ext4): in full, with --force.
# xvda is raw behind a loop device, xvdb raw and served by QEMU.
# Takes long.

load helpers
load copy

setup_file()
{
    fs_new ext4 300M
    mkdir "$disk_dir/small"
    mount -t tmpfs -o size=80M none "$disk_dir/small"
    truncate -s 64M "$fs/a.raw" "$fs/b.raw"
    # Something to copy; in the last MiB the guest does not write.
    dd if=/dev/urandom of="$fs/a.raw" bs=1M seek=32 count=32 conv=notrunc
    labguest start "$guest" --mem 112 --disk "$fs/a.raw,raw,xvda,w" \
        --disk "$(raw_by_qemu "$fs/b.raw" xvdb)"
}

teardown_file()
{
    guest_end
    umount "$disk_dir/small"
    fs_end
}

setup()
{
    id=$(domid)
}

# assert_only FILE...: beside the disks.
assert_only()
{
    local found

    found=$(cd "$fs" && find . -type f | sort | tr '\n' ' ')
    [ "$found" = "$(printf './%s\n' a.raw b.raw "$@" | sort | tr '\n' ' ')" ] ||
        fail "these files are there: $found"
    [ -z "$(ls -A "$disk_dir/small")" ] || fail "a file is left in small"
}

assert_untouched()
{
    [ "$(domid)" = "$id" ] || fail "the domain is another one"
    assert_sound
    assert_nothing_pending
    [ ! -e "$snapshots/$guest/new" ] || fail "$snapshots/$guest/new is left"
    assert_only
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    assert_untouched
}

@test "without --force it is refused, with the reason and what would help" {
    snap create "$guest" name=new
    assert_refused "disk 'xvda': '$fs/a-new.raw' cannot share the blocks of '$fs/a.raw': the file system cannot do that (XFS made with reflink=1, and btrfs, can); --force permits a full copy, of 3"
    [[ $stderr != *overlay* ]]
    snap create "$guest" name=new "disks=['vdev=xvda,snapshot=no']"
    assert_status 4
}

@test "with --force, too little space for it is refused" {
    fallocate -l 60M "$disk_dir/small/ballast"
    snap create -f "$guest" name=new "disks=['vdev=xvda,target=$disk_dir/small/a']"
    rm "$disk_dir/small/ballast"
    assert_refused "MiB in '$disk_dir/small', with what else goes there, but only 20 MiB are free"
    assert_says "disk 'xvda': a full copy needs "
}

@test "when space runs out while it is copied, the guest goes on and nothing is left" {
    xl snapshot-create -f "$guest" name=new \
        "disks=['vdev=xvda,target=$disk_dir/small/a']" \
        >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    local create=$!

    # The check is over when the record is there; the copy is yet to come.
    until_true 180 eval "[ -n \"\$(ls $pending)\" ]"
    fallocate -l 70M "$disk_dir/small/ballast"
    wait "$create" || status=$?
    rm "$disk_dir/small/ballast"
    output=$(cat "$BATS_TEST_TMPDIR/out") stderr=$output
    assert_status 1
    assert_says "disk 'xvda': cannot write '$disk_dir/small/.xl-snapshot."
    assert_says "No space left on device"
    assert_untouched
    assert_monitored
}

@test "a full copy is announced, made and reverted to, again and again" {
    local n sums

    snap create -f "$guest" name=full
    assert_status 0
    [[ $stderr == *"disk 'xvda': the guest will stand still while 3"?" MiB are copied to '$fs/a-full.raw' (no shared blocks: the file system cannot do that"* ]]
    assert_told "disk 'xvda': 3? of 3? MiB, 100%"
    assert_sound
    assert_only a-full.raw b-full.raw
    # Its holes are holes.
    [ "$(stat -c %b "$fs/a-full.raw")" -lt $((40 * 2048)) ]
    n=$(newest)
    sums=$(sha256sum "$fs"/*-full.raw)
    for _ in 1 2; do
        go_on "$n"
        snap revert "$guest" name=full
        assert_status 0
        [[ $stderr == *"disk 'xvda': 3"?" MiB will be copied from '$fs/a-full.raw'"* ]]
        assert_back_at "$n"
        assert_scanned
        [ "$(sha256sum "$fs"/*-full.raw)" = "$sums" ]
        assert_only a-full.raw b-full.raw
    done
    cmp -i $((63 << 20)) "$fs/a.raw" "$fs/a-full.raw"
}

@test "a revert for which there is no space is refused" {
    local free

    free=$(($(stat -f -c '%a * %S' "$fs")))
    fallocate -l $((free - (40 << 20))) "$fs/ballast"
    snap revert "$guest" name=full
    rm "$fs/ballast"
    assert_status 4
    assert_says "disk 'xvda': a full copy needs "
    assert_says " MiB in '$fs', with what else goes there, but only "
    [ "$(domid)" = "$id" ]
    assert_sound
    rm "$fs"/*-full.raw
}

@test "terminated while it copies, the guest goes on and nothing is left" {
    local create

    xl snapshot-create -v -f "$guest" name=new >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    create=$!
    until_true 180 grep -q "disk-create: " "$BATS_TEST_TMPDIR/out"
    kill -TERM "$create"
    wait "$create" || status=$?
    output=$(cat "$BATS_TEST_TMPDIR/out") stderr=$output
    assert_status 1
    assert_says cancelled
    assert_untouched
}
