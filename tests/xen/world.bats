#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The world misbehaves while a snapshot is taken: disks that fail or are slow, a QEMU
# that is silent or dies, no processes, no descriptors, no memory, a clock that jumps.
# The guest runs on, and there is a whole snapshot or none.
# Takes long.

load helpers
load fresh

teardown()
{
    jobs -p | xargs -r kill 2>/dev/null || true
    dom_processes CONT 2>/dev/null || true
    pkill -CONT xenstored
    ! mountpoint -q "$dir" || umount -l "$dir"
    ! dmsetup info "$device" >/dev/null 2>&1 ||
        dmsetup remove -f --retry "$device" || true
    ! losetup -j "$image" | grep -q . ||
        losetup -d "$(losetup -n -O NAME -j "$image")" 3>&- 4>&-
    rm -f "$image"
    [ ! -d "$group" ] || rmdir "$group"
}

dir=/mnt/world
image=/var/lib/guests/world.img
device=world-disk
group=/sys/fs/cgroup/world

# dom_processes SIGNAL: to what serves the guest in dom0.
dom_processes()
{
    local qemu

    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    kill "-$1" "$qemu"
}

# flaky_disk: a file system at $dir, on a device whose behaviour becomes changes.
flaky_disk()
{
    local loop

    truncate -s 400M "$image"
    loop=$(losetup -f --show "$image" 3>&- 4>&-)
    sectors=$(blockdev --getsz "$loop")
    dmsetup create "$device" --table "0 $sectors linear $loop 0"
    mkfs.ext4 -q "/dev/mapper/$device"
    mkdir -p "$dir"
    mount "/dev/mapper/$device" "$dir"
    chmod 700 "$dir"
}

# becomes TARGET [ARGUMENTS...]: a target of device mapper
becomes()
{
    local table=${*/LOOP/$(losetup -n -O NAME -j "$image")}

    dmsetup suspend --noflush --nolockfs "$device"
    dmsetup load "$device" --table "0 $sectors $table"
    dmsetup resume "$device"
}

# start_create ARGUMENT...: in the background
start_create()
{
    xl snapshot-create "$guest" name=try "$@" 2>"$BATS_TEST_TMPDIR/err" \
        >"$BATS_TEST_TMPDIR/out" 3>&- &
    creator=$!
}

end_create()
{
    status=0
    wait "$creator" || status=$?
    stderr=$(cat "$BATS_TEST_TMPDIR/err")
}

# limited COMMANDS NUMBER: a create by a shell that has first run these COMMANDS,
# in which the number is $0.
limited()
{
    run --separate-stderr bash -c "$1 && exec xl-snapshot \"\$@\"" "$2" \
        create "$guest" name=try
    outcomes+=" $status"
}

# Success, or nothing: recover, if that is asked for, undoes it.
assert_whole_or_none()
{
    assert_sound
    # It may wait for 150 s whether the guest suspends yet.
    until_true 200 no_guard
    if [ "$status" -eq 5 ]; then
        snap recover
        assert_status 0
        status=1
    fi
    case $status in
    0) [ -f "$snapshots/$guest/try/snapshot.cfg" ] ;;
    1 | 4) assert_no_trace try ;;
    *) fail "exit status" ;;
    esac
    assert_nothing_pending
    assert_monitored
}

forget_try()
{
    local node

    for node in xvda-qcow2 xvdb-qcow2; do
        xl qemu-monitor-command "$guest" \
            "snapshot_delete_blkdev_internal $node try" >/dev/null
    done
    rm -r "$snapshots/$guest/try"
}

@test "the memory image's disk fails in the middle: the guest and its disks are as before" {
    flaky_disk
    start_create "path=$dir/try"
    until_true 30 guest_shut_down
    becomes error
    end_create
    assert_sound
    [ "$status" -eq 1 ] || [ "$status" -eq 5 ]
    assert_monitored
    until_true 60 no_guard
    # What is on that disk is out of reach; the guest's disks are as before.
    assert_no_tag try
    # Or it is taken for removed: the error of a directory is told once.
    if [ "$status" -eq 5 ]; then
        snap recover
        [ "$status" -eq 0 ] || snap recover --abandon "$guest"
        assert_status 0
    fi
    umount -l "$dir"
    assert_nothing_pending
    snapshot next
}

@test "the memory image's disk is slow: it takes longer, no more" {
    flaky_disk
    becomes delay LOOP 0 300
    start_create "path=$dir/try"
    end_create
    assert_status 0
    assert_sound
    becomes linear LOOP 0
    snap revert "$dir/try/snapshot.cfg"
    assert_status 0
    assert_scanned
}

@test "the disk of the overlays is full: refused or undone" {
    local full="$dir/full"

    flaky_disk
    mkdir "$full"
    run ! dd if=/dev/zero of="$full/filler" bs=1M 2>/dev/null
    run ! dd if=/dev/zero of="$full/filler2" bs=1k 2>/dev/null
    snap create "$guest" name=try \
        "disks=['vdev=xvda,snapshot=overlay,target=$full/a-try.qcow2', ',,xvdb']"
    [ "$status" -eq 1 ] || [ "$status" -eq 4 ]
    [ "$(ls "$full")" = "$(printf 'filler\nfiller2')" ]
    assert_whole_or_none
}

@test "QEMU's monitor is somebody else's: refused, and free again it works" {
    local socket

    socket=/var/run/xen/qmp-libxenstat-$(domid)
    python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
time.sleep(600)' "$socket" 3>&- &
    sleep 1
    snap create "$guest" name=try
    [ "$status" -eq 1 ] || [ "$status" -eq 4 ]
    assert_whole_or_none
    kill %1
    snapshot try
    forget_try
}

@test "QEMU stands still when it is asked: refused or undone" {
    dom_processes STOP
    snap create "$guest" name=try
    dom_processes CONT
    [ "$status" -eq 1 ] || [ "$status" -eq 4 ]
    assert_whole_or_none
}

@test "QEMU stands still in the pause: undone, and the guest goes on" {
    start_create
    until_true 30 guest_shut_down
    dom_processes STOP
    end_create
    dom_processes CONT
    [ "$status" -ne 0 ] || fail "the disks were not asked"
    assert_whole_or_none
}

@test "QEMU dies in the pause: it fails, nothing waits, recover cleans up" {
    start_create
    until_true 30 guest_shut_down
    dom_processes KILL
    end_create
    [ "$status" -eq 1 ] || [ "$status" -eq 5 ]
    until_true 60 no_guard
    guest_end
    snap recover
    assert_status 0
    assert_nothing_pending
    [ ! -e "$snapshots/$guest/try" ]
    assert_no_tag try
    labguest start "$guest"
    assert_scanned
}

@test "xenstored stands still for a while: it takes longer, no more" {
    start_create
    until_true 30 guest_shut_down
    pkill -STOP xenstored
    sleep 20
    pkill -CONT xenstored
    end_create
    assert_status 0
    assert_whole_or_none
    forget_try
}

@test "the clock jumps for hours, both ways" {
    local jumper started

    started=$(date +%s)
    while :; do
        date -s "@$(($(date +%s) + 7200))"
        sleep 0.3
        date -s "@$(($(date +%s) - 7200))"
        sleep 0.3
    done >/dev/null 2>&1 3>&- &
    jumper=$!
    run --separate-stderr timeout 300 xl snapshot-create "$guest" name=try
    assert_status 0
    run --separate-stderr timeout 300 xl snapshot-revert "$guest" name=try
    assert_status 0
    kill "$jumper"
    # It may have been between its two.
    [ "$(date +%s)" -lt $((started + 3600)) ] ||
        date -s "@$(($(date +%s) - 7200))" >&2
    assert_scanned
    forget_try
}

# shellcheck disable=SC2016  # the other shell's
@test "no process can be made: at each number of them" {
    local n outcomes=

    echo +pids >/sys/fs/cgroup/cgroup.subtree_control
    mkdir "$group"
    for n in 1 2 3 4 5 6 7 8; do
        limited 'echo "$0" >/sys/fs/cgroup/world/pids.max &&
            echo $$ >/sys/fs/cgroup/world/cgroup.procs' "$n"
        echo max >"$group/pids.max"
        assert_whole_or_none
        [ "$status" -ne 0 ] || forget_try
    done
    echo "# exit status with 1 to 8 processes:$outcomes" >&3
    [[ $outcomes == *[14]* ]]
}

# shellcheck disable=SC2016
@test "no descriptor is left: at each number of them" {
    local n outcomes=

    for n in 4 8 12 16 24 33 34 35 36 38 40 44 48; do
        limited 'ulimit -n "$0"' "$n"
        # The loader has none for libxl.
        [ "$status" -ne 127 ] || status=4
        assert_whole_or_none
        [ "$status" -ne 0 ] || forget_try
    done
    echo "# exit status with 4 to 48 descriptors:$outcomes" >&3
    [[ $outcomes == *[14]* ]]
}

# shellcheck disable=SC2016
@test "no memory is left: at each limit of the address space" {
    local n outcomes=

    for n in 16 24 32 48 64 96 128 192; do
        limited 'ulimit -v "$(($0 * 1024))"' "$n"
        # Who has no memory for a message ends (abort), and cleans nothing up.
        [ "$status" -lt 126 ] || status=5
        assert_whole_or_none
        [ "$status" -ne 0 ] || forget_try
    done
    echo "# exit status with 16 to 192 MiB:$outcomes" >&3
    [[ $outcomes == *5*0* ]]
}
