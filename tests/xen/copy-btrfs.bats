#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# As copy.bats, on btrfs: xvda is raw behind a loop device, its file without
# checksums (chattr +C) in a directory of files with; xvdb is raw, by QEMU.
# Takes long.

load helpers
load copy

setup_file()
{
    fs_new btrfs 512M
    touch "$fs/a.raw"
    chattr +C "$fs/a.raw"
    truncate -s 64M "$fs/a.raw" "$fs/b.raw"
    btrfs -q subvolume create "$fs/sub"
    labguest start "$guest" --mem 112 --disk "$fs/a.raw,raw,xvda,w" \
        --disk "$(raw_by_qemu "$fs/b.raw" xvdb)"
    # Another subvolume looks like another file system, but is not.
    snap create "$guest" name=gold \
        "disks=['vdev=xvda,target=$fs/sub/a.frozen', 'vdev=xvdb,target=$fs/sub/b.frozen']"
    gold_made
    sha256sum "$fs"/sub/* >"$BATS_FILE_TMPDIR/sums"
}

teardown_file()
{
    fs_end
}

# The oracle is content, and the frozen files are as they were.
assert_as_gold()
{
    assert_scanned
    sha256sum "$fs"/sub/* | diff -u "$BATS_FILE_TMPDIR/sums" - >&2 ||
        fail "a frozen file has changed"
    assert_nothing_pending
}

@test "a snapshot into another subvolume leaves nothing else there" {
    [ "$(cd "$fs" && find . -type f | sort | tr '\n' ' ')" = \
        "./a.raw ./b.raw ./sub/a.frozen ./sub/b.frozen " ]
    assert_sound
    assert_nothing_pending
}

@test "the copies share their blocks with the disks, with checksums or without" {
    local file

    snapshot shared
    for file in a b; do
        filefrag -v "$fs/$file-shared.raw" | grep -q shared ||
            fail "$file shares nothing"
    done
    [[ $(lsattr "$fs/a-shared.raw") == *C*\ * ]]
    [[ $(lsattr "$fs/b-shared.raw") != *C*\ * ]]
    rm "$fs"/*-shared.raw
}

@test "revert, and again" {
    for _ in 1 2; do
        go_on
        snap revert "$guest" name=gold
        assert_status 0
        assert_back_at_gold
        assert_as_gold
    done
    [[ $(lsattr "$fs/a.raw") == *C*\ * ]]
    [[ $(lsattr "$fs/b.raw") != *C*\ * ]]
    assert_monitored
}

@test "then the guest reboots, on the right files" {
    reboots
    assert_scanned
    [ "$(losetup -n -O BACK-INO,BACK-FILE | grep -c -F " $fs/")" = 1 ]
    losetup -n -O BACK-INO,BACK-FILE | tr -s ' ' | sed 's/^ //' |
        grep -x -F "$(stat -c '%i %n' "$fs/a.raw")"
}
