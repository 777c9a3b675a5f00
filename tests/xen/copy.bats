#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks that are frozen by copying them, of every kind at once and beside an
# internal snapshot, the oracle writing all the while:
#     xvda  raw behind a loop device, configured by a symlink
#     xvdb  raw, served by QEMU
#     xvdc  VHD, dynamic, served by QEMU
#     xvdd  qcow2, internal
# All but the last on XFS. On btrfs: copy-btrfs.bats; without reflinks:
# copy-full.bats.
# Takes long.

load helpers
load copy

setup_file()
{
    fs_new xfs 512M
    make_disks
    labguest start "$guest" --mem 112 --disk "$disk_dir/a.raw,raw,xvda,w" \
        --disk "$(raw_by_qemu "$fs/b.raw" xvdb)" \
        --disk "$fs/c.vhd,vhd,xvdc,w" --disk "$disk_dir/d.qcow2,qcow2,xvdd,w"
    snap create "$guest" name=gold
    gold_made
    frozen_sums >"$BATS_FILE_TMPDIR/sums"
}

make_disks()
{
    truncate -s 64M "$fs/a.raw" "$fs/b.raw"
    # Where the oracle does not write.
    dd if=/dev/urandom of="$fs/b.raw" bs=1M seek=32 count=16 conv=notrunc status=none
    ln -s fs/a.raw "$disk_dir/a.raw"
    qemu-img create -q -f vpc -o subformat=dynamic,force_size "$fs/c.vhd" 64M
    labguest disk "$disk_dir/d.qcow2"
    chown 107:108 "$fs/a.raw"
    chmod 640 "$fs/a.raw"
    python3 -c "import os; os.setxattr('$fs/a.raw', 'user.x', b'y')"
}

teardown_file()
{
    fs_end
}

# A test that failed must not fail the next ones.
setup()
{
    local file

    id=$(domid)
    rm -f "$fs/ballast" "$pending"/*.json
    for file in "$fs"/*; do
        case $file in
        */a.raw | */b.raw | */c.vhd | *-gold.*) ;;
        *) rm -rf "$file" ;;
        esac
    done
}

# frozen NAME: the files of that snapshot.
frozen()
{
    echo "$fs/a-$1.raw" "$fs/b-$1.raw" "$fs/c-$1.vhd"
}

frozen_sums()
{
    # shellcheck disable=SC2046
    sha256sum $(frozen gold)
}

# The disks that are copied, a line each.
disks()
{
    printf "$fs/%s\n" a.raw b.raw c.vhd
}

# All files there are the disks, "gold", and those named.
assert_only_files()
{
    local found want

    found=$(find "$fs" -mindepth 1 ! -type d | sort)
    # shellcheck disable=SC2046
    want=$(printf '%s\n' $(disks) $(frozen gold) "$@" | sort)
    [ "$found" = "$want" ] || fail "these files are there: $found"
}

# The loop device and QEMU are on the files that have the disks' names now, and
# no other loop device is on one of them.
assert_right_files()
{
    local loops qemu file

    loops=$(losetup -n -O BACK-INO,BACK-FILE | awk -v d="$fs/" \
        'index($2, d) == 1 { print $1, $2 }')
    [ "$loops" = "$(stat -c '%i %n' "$fs/a.raw")" ] ||
        fail "the loop devices are on $loops"
    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    for file in "$fs/b.raw" "$fs/c.vhd" "$disk_dir/d.qcow2"; do
        find -L "/proc/$qemu/fd" -samefile "$file" | grep -q . ||
            fail "QEMU has not $file open"
    done
    ! find "/proc/$qemu/fd" -lname "$disk_dir/*(deleted)" | grep . ||
        fail "QEMU has a file open that is gone"
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    [ "$(domid)" = "$id" ] || fail "the domain is another one"
    assert_sound
    assert_nothing_pending
    assert_only_files "${@:2}"
}

# The oracle is content, and the frozen files are as they were.
assert_as_gold()
{
    assert_scanned
    frozen_sums | diff -u "$BATS_FILE_TMPDIR/sums" - >&2 ||
        fail "a frozen file has changed"
    assert_nothing_pending
}

@test "one snapshot freezes every kind of disk" {
    assert_only_files
    qemu-img snapshot -U -l "$disk_dir/d.qcow2" | grep -q ' gold '
    assert_sound
    assert_nothing_pending
    assert_monitored
    assert_right_files
    grep -q "vdev=xvda,snapshot=external,format=raw,size=64M,target=$fs/a-gold.raw,source=$disk_dir/a.raw" \
        "$snapshots/$guest/gold/snapshot.cfg"
}

@test "the copies share their blocks with the disks" {
    local file

    snapshot shared
    # shellcheck disable=SC2046
    for file in $(frozen shared); do
        filefrag -v "$file" | grep -q shared || fail "$file shares nothing"
        rm "$file"
    done
}

@test "a copy has the owner, mode and attributes of the disk" {
    [ "$(stat -c '%u:%g %a' "$fs/a-gold.raw")" = "107:108 640" ]
    python3 -c "import os; assert os.getxattr('$fs/a-gold.raw', 'user.x') == b'y'"
    [ "$(stat -c '%u:%g %a' "$fs/b-gold.raw")" = "0:0 644" ]
}

@test "revert takes all of them back" {
    go_on
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_right_files
    assert_monitored
    assert_only_files
}

@test "and again: the symlink stays a link, the new files are as the old" {
    go_on
    snap revert "$snapshots/$guest/gold/snapshot.cfg"
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_right_files
    [ "$(readlink "$disk_dir/a.raw")" = fs/a.raw ]
    [ "$(stat -c '%u:%g %a' "$fs/a.raw")" = "107:108 640" ]
    python3 -c "import os; assert os.getxattr('$fs/a.raw', 'user.x') == b'y'"
}

@test "a reboot, xl save and restore, shutdown and create: on the right files" {
    reboots
    assert_scanned
    assert_right_files
    saves_and_restores
    assert_right_files
    restarts
    assert_right_files
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

@test "revert --keep keeps what is given up" {
    local kept n

    go_on
    n=$(newest)
    snap revert --keep "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    kept=$(find "$fs" -name '*-discarded-*Z' | sed 's/-discarded-.*//' | sort)
    [ "$kept" = "$(disks)" ]
    # It is the newer state: the oracle has written it beyond "gold".
    run ! cmp -s "$fs"/a.raw-discarded-* "$fs/a-gold.raw"
    [ "$n" -ge $((gold_number + 12)) ]
    rm "$fs"/*-discarded-*
}

@test "revert when the domain does not run" {
    guest_end
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_right_files
    assert_monitored
}

@test "what was written to the loop device itself is in the copy" {
    local loop at=63 wb

    loop=$(losetup -n -O NAME -j "$fs/a.raw")
    wb=$(sysctl -n vm.dirty_writeback_centisecs)
    sysctl -q vm.dirty_writeback_centisecs=0
    head -c 1M /dev/urandom >"$BATS_TEST_TMPDIR/data"
    # Into the cache of the device, where the guest does not write.
    dd if="$BATS_TEST_TMPDIR/data" of="$loop" bs=1M seek=$at conv=notrunc,nocreat
    ! dd if="$fs/a.raw" bs=1M skip=$at count=1 |
        cmp -s - "$BATS_TEST_TMPDIR/data" || fail "the kernel has written it"
    snapshot cached
    sysctl -q "vm.dirty_writeback_centisecs=$wb"
    dd if="$fs/a-cached.raw" bs=1M skip=$at count=1 |
        cmp - "$BATS_TEST_TMPDIR/data"
    # shellcheck disable=SC2046
    rm $(frozen cached)
}

@test "targets elsewhere" {
    mkdir "$fs/sub"
    snapshot else "disks=['vdev=xvda,target=$fs/sub/one', 'vdev=xvdc,target=$fs/sub/three']"
    go_on "$(newest)"
    snap revert "$guest" name=else
    assert_status 0
    assert_scanned
    assert_only_files "$fs/sub/one" "$fs/b-else.raw" "$fs/sub/three"
    rm -r "$fs/sub" "$fs/b-else.raw"
}

@test "little space for what the guest overwrites is told" {
    local free

    free=$(($(stat -f -c '%a * %S' "$fs")))
    fallocate -l $((free - (6 << 20))) "$fs/ballast"
    snap create "$guest" name=tight
    rm "$fs/ballast"
    assert_status 0
    assert_told "disk 'xvdb': the copy shares * MiB with '$fs/b.raw'; what the guest overwrites* MiB are free"
    # shellcheck disable=SC2046
    rm $(frozen tight)
}

# ---- refusals of create ----

@test "a target that exists is refused" {
    touch "$fs/c-new.vhd"
    snap create "$guest" name=new
    assert_refused "disk 'xvdc': target '$fs/c-new.vhd' exists already, and nothing is ever overwritten" \
        "$fs/c-new.vhd"
    rm "$fs/c-new.vhd"
    ln -s nowhere "$fs/c-new.vhd"
    snap create "$guest" name=new
    assert_refused "target '$fs/c-new.vhd' exists already" "$fs/c-new.vhd"
    rm "$fs/c-new.vhd"
}

@test "a target on another file system is refused, and says what would help" {
    snap create "$guest" name=new "disks=['vdev=xvdb,target=$disk_dir/b']"
    assert_refused "disk 'xvdb': '$disk_dir/b' cannot share the blocks of '$fs/b.raw': they are on different file systems; --force permits a full copy, of "
    assert_says " MiB, for which the guest would stand still; snapshot=overlay needs no copy"
    [ ! -e "$disk_dir/b" ]
}

@test "a target in a directory that is not there, or read-only, is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,target=$fs/nowhere/a']"
    assert_refused "disk 'xvda': cannot write to '$fs/nowhere', where the copy goes: No such file or directory"
    mkdir "$disk_dir/ro"
    mount --bind -o ro "$fs" "$disk_dir/ro"
    snap create "$guest" name=new "disks=['vdev=xvda,target=$disk_dir/ro/a']"
    umount "$disk_dir/ro"
    assert_refused "disk 'xvda': cannot write to '$disk_dir/ro', where the copy goes: Read-only file system"
}

@test "a target that is another disk is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,target=$fs/b.raw']"
    assert_refused "disk 'xvda': target '$fs/b.raw' is disk 'xvdb' or its target, too"
}

# patch FILE BYTE: the type in the first footer; 03 is dynamic, 04 differencing.
patch()
{
    # shellcheck disable=SC2059
    printf "\\x$2" | dd of="$1" bs=1 seek=63 conv=notrunc,nocreat status=none
}

@test "a differencing VHD is refused" {
    patch "$fs/c.vhd" 04
    snap create "$guest" name=new
    patch "$fs/c.vhd" 03
    assert_refused "disk 'xvdc': '$fs/c.vhd' is a differencing VHD, of which QEMU does not read what is in the parent"
}

@test "a disk whose file was replaced is refused" {
    mv "$fs/a.raw" "$fs/a.away"
    truncate -s 64M "$fs/a.raw"
    snap create "$guest" name=new
    mv "$fs/a.away" "$fs/a.raw"
    assert_refused "disk 'xvda': '$disk_dir/a.raw' is not the file behind '/dev/loop"
    mv "$fs/b.raw" "$fs/b.away"
    truncate -s 64M "$fs/b.raw"
    snap create "$guest" name=new
    mv "$fs/b.away" "$fs/b.raw"
    assert_refused "disk 'xvdb': '$fs/b.raw' is not the file that QEMU (pid "
}

@test "an internal snapshot of a raw disk is refused" {
    snap create --internal "$guest" name=new
    assert_refused "disk 'xvda' ('$disk_dir/a.raw', format raw, backend phy): only qcow2 images"
}

# ---- refusals of revert ----

# with_frozen FILE COMMAND...: a revert while COMMAND has changed it.
with_frozen()
{
    cp -p --reflink=never --sparse=always "$1" "$1.safe"
    "${@:2}"
    snap revert "$guest" name=gold
    rm -rf "$1"
    mv "$1.safe" "$1"
}

@test "a frozen file that is missing, or not a file, is refused" {
    with_frozen "$fs/b-gold.raw" rm "$fs/b-gold.raw"
    assert_refused "disk 'xvdb': cannot open '$fs/b-gold.raw': No such file"
    with_frozen "$fs/a-gold.raw" sh -c "rm $fs/a-gold.raw; mkdir $fs/a-gold.raw"
    assert_refused "disk 'xvda': '$fs/a-gold.raw' is no regular file"
}

@test "a frozen file that was cut off is refused" {
    with_frozen "$fs/b-gold.raw" truncate -s 32M "$fs/b-gold.raw"
    assert_refused "disk 'xvdb': '$fs/b-gold.raw' is of 33554432 bytes, but was of 67108864 when it was made"
}

@test "a frozen file that somebody may write to is refused" {
    local loop

    snap_while_open "$fs/b-gold.raw" revert "$guest" name=gold
    assert_refused "disk 'xvdb': process $$ has the frozen file '$fs/b-gold.raw' open for writing"
    snap_while_looped "$fs/a-gold.raw" revert "$guest" name=gold
    assert_refused "disk 'xvda': the frozen file '$fs/a-gold.raw' can be written as $loop"
}

@test "a disk that dom0 has in use, too, is refused before the destroy" {
    local loop

    loop=$(losetup -r -f --show "$fs/b.raw")
    snap revert "$guest" name=gold
    losetup -d "$loop"
    assert_refused "disk 'xvdb' ('$fs/b.raw') is in use as $loop"
}

@test "a frozen VHD that is damaged, or has got a parent, is refused" {
    with_frozen "$fs/c-gold.vhd" sh -c "dd if=/dev/zero bs=512 count=1 conv=notrunc of=$fs/c-gold.vhd; truncate -s -512 $fs/c-gold.vhd; truncate -s +512 $fs/c-gold.vhd"
    assert_refused "disk 'xvdc': '$fs/c-gold.vhd' is no VHD, or a damaged one"
    with_frozen "$fs/c-gold.vhd" patch "$fs/c-gold.vhd" 04
    assert_refused "disk 'xvdc': '$fs/c-gold.vhd' is a differencing VHD"
}

@test "revert --keep over a file that is there is refused" {
    local now s stamp

    printf -v now '%(%s)T' -1
    for ((s = now; s < now + 60; s++)); do
        TZ=UTC printf -v stamp '%(%Y%m%dT%H%M%SZ)T' "$s"
        : >"$fs/b.raw-discarded-$stamp"
    done
    snap revert --keep "$guest" name=gold
    rm "$fs"/b.raw-discarded-*
    assert_refused "disk 'xvdb': '$fs/b.raw-discarded-"
    assert_says "exists already, and nothing is ever overwritten"
}

@test "a frozen file that is the disk itself is refused" {
    with_frozen "$fs/a-gold.raw" ln -f "$fs/a.raw" "$fs/a-gold.raw"
    assert_refused "disk 'xvda': '$fs/a.raw' and '$fs/a-gold.raw' are the same file: the frozen one is in use as the disk"
}

@test "after all that a revert works, and no loop device is left" {
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_right_files
    guest_end
    until_true 20 eval "! losetup -n -O BACK-FILE | grep -F '$fs/'"
    assert_only_files
}

# What it has sent is at QEMU, or on the way to the file, when it is suspended.
@test "though the guest flushes nothing: of one instant all the same" {
    local number n

    guest_end
    labguest cfg "$guest" --mem 112 --flush 100000 --interval 5 \
        --disk "$disk_dir/a.raw,raw,xvda,w" \
        --disk "$(raw_by_qemu "$fs/b.raw" xvdb)" \
        --disk "$fs/c.vhd,vhd,xvdc,w" --disk "$disk_dir/d.qcow2,qcow2,xvdd,w"
    labguest start "$guest"
    for n in 1 2 3; do
        snapshot "busy$n"
        number=$(newest)
        go_on "$number"
        snap revert "$guest" "name=busy$n"
        assert_status 0
        assert_back_at "$number"
        assert_scanned
    done
}
