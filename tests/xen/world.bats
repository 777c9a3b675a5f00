#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The world misbehaves while a snapshot is taken: disks that fail or are slow, a QEMU
# that is silent or dies, no processes, no descriptors, no memory, a clock that jumps.
# The guest runs on, and there is a whole snapshot or none.
# Takes long.

load helpers
load fresh
load world

teardown()
{
    world_mended
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

# limited COMMANDS NUMBER...: for each a create by a shell that has first run these
# COMMANDS, in which the number is $0; $outcomes become the exit statuses.
limited()
{
    local n

    outcomes=
    for n in "${@:2}"; do
        run --separate-stderr bash -c "$1 && exec xl-snapshot \"\$@\"" "$n" \
            create "$guest" name=try
        outcomes+=" $status"
        [ ! -d "$group" ] || echo max >"$group/pids.max"
        case $status in
        127) status=4 ;; # the loader could not load libxl
        134) status=5 ;; # abort: no memory for a message, nothing cleaned up
        esac
        assert_whole_or_none
        [ "$status" -ne 0 ] || forget_try
    done
    echo "# exit status at ${*//$'\n'/ }:$outcomes" >&3
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
    umount "$dir"
    assert_nothing_pending
    snapshot next
}

@test "the memory image's file system hangs: the guest does not wait for it" {
    flaky_disk
    XLSNAP_STALL_S=20 "$faulty" create "$guest" name=try "path=$dir/try" \
        2>"$BATS_TEST_TMPDIR/err" >"$BATS_TEST_TMPDIR/out" 3>&- &
    creator=$!
    until_true 30 guest_shut_down
    fsfreeze -f "$dir"
    end_create
    until_true 60 no_guard
    fsfreeze -u "$dir"
    stderr=$(cat "$BATS_TEST_TMPDIR/err")
    assert_status 5
    assert_told "stood still for 20 s in which nothing moved"
    assert_sound
    assert_monitored
    snap recover
    assert_status 0
    assert_sound
    assert_no_trace try
    [ ! -e "$dir/try" ]
    umount "$dir"
    snapshot next
}

@test "it hangs, and all are killed: recover lets the guest go on, and ends when it can" {
    flaky_disk
    start_create "path=$dir/try"
    until_true 30 guest_shut_down
    fsfreeze -f "$dir"
    # It comes to stand still by and by.
    sleep 5
    # The writer, too, but it does not get to it.
    pkill -STOP -f "^xl(-snapshot)? (snapshot-create|guard) $guest "
    pkill -KILL -f "^xl(-snapshot)? (snapshot-create|guard) $guest "
    end_create
    guest_shut_down
    xl snapshot-recover "$guest" >"$BATS_TEST_TMPDIR/recovered" 3>&- &
    background=$!
    until_true 120 eval '! guest_shut_down'
    assert_sound
    kill -0 "$background"
    fsfreeze -u "$dir"
    wait "$background"
    background=
    [[ $(<"$BATS_TEST_TMPDIR/recovered") == *"snapshot 'try' of domain '$guest' was removed" ]]
    assert_sound
    assert_no_trace try
    [ ! -e "$dir/try" ]
    umount "$dir"
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

@test "the disk of the overlays is full: refused" {
    local full="$dir/full"

    flaky_disk
    mkdir "$full"
    run ! dd if=/dev/zero of="$full/filler" bs=1M 2>/dev/null
    run ! dd if=/dev/zero of="$full/filler2" bs=1k 2>/dev/null
    snap create "$guest" name=try \
        "disks=['vdev=xvda,snapshot=overlay,target=$full/a-try.qcow2', ',,xvdb']"
    assert_status 4
    assert_says "is full: a fresh overlay needs"
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
print(flush=True)
time.sleep(600)' "$socket" >"$BATS_TEST_TMPDIR/connected" 3>&- &
    background=$!
    until_true 30 [ -s "$BATS_TEST_TMPDIR/connected" ]
    snap create "$guest" name=try
    assert_status 4
    assert_says "got no greeting (another client may hold it) within 10 s"
    assert_whole_or_none
    kill "$background"
    background=
    snapshot try
    forget_try
}

@test "QEMU stands still when it is asked: refused" {
    qemu_signal STOP
    snap create "$guest" name=try
    qemu_signal CONT
    assert_status 4
    assert_says "got no greeting (another client may hold it) within 10 s"
    assert_whole_or_none
}

@test "QEMU stands still in the pause: undone, and the guest goes on" {
    start_create
    until_true 30 guest_shut_down
    qemu_signal STOP
    end_create
    qemu_signal CONT
    [ "$status" -ne 0 ] || fail "the disks were not asked"
    assert_whole_or_none
}

@test "QEMU dies in the pause: it fails, nothing waits, recover cleans up" {
    start_create
    until_true 30 guest_shut_down
    qemu_signal KILL
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
    sleep 12 # longer than libxl waits for most things (10 s)
    pkill -CONT xenstored
    end_create
    assert_status 0
    assert_whole_or_none
    forget_try
}

@test "another domain's disk is on a file system that does not answer: nobody waits for it" {
    local n

    modprobe fuse
    mkdir -p "$dir"
    "$BATS_TEST_DIRNAME/fakes/silent-fs" "$dir" 3>&- &
    background=$!
    until_true 20 mountpoint -q "$dir"
    printf '%s\n' 'name = "neighbour"' 'type = "pv"' 'memory = 80' \
        'kernel = "/usr/local/lib/lab/vmlinux"' \
        "disk = [ '$dir/file,raw,xvda,w' ]" >/run/neighbour.cfg
    xl create -q -p /run/neighbour.cfg 3>&-
    kill -STOP "$background"
    run timeout 2 stat "$dir/file"
    assert_status 124
    snapshot try
    n=$(newest)
    go_on "$n"
    snap revert "$guest" name=try
    assert_status 0
    assert_back_at "$n"
    kill -KILL "$background"
    background=
    destroyed neighbour
    umount -l "$dir"
    forget_try
}

@test "the clock jumps for hours, both ways" {
    local started

    started=$(date +%s)
    while :; do
        date -s "@$(($(date +%s) + 7200))"
        sleep 0.3
        date -s "@$(($(date +%s) - 7200))"
        sleep 0.3
    done >/dev/null 2>&1 3>&- &
    background=$!
    run --separate-stderr timeout 300 xl snapshot-create "$guest" name=try
    assert_status 0
    run --separate-stderr timeout 300 xl snapshot-revert "$guest" name=try
    assert_status 0
    kill "$background"
    background=
    # It may have been between its two.
    [ "$(date +%s)" -lt $((started + 3600)) ] ||
        date -s "@$(($(date +%s) - 7200))" >&2
    assert_scanned
    forget_try
}

# shellcheck disable=SC2016  # the other shell's
@test "no process can be made: at each number of them" {
    control_groups
    echo +pids >/sys/fs/cgroup/cgroup.subtree_control
    mkdir "$group"
    limited 'echo "$0" >/sys/fs/cgroup/world/pids.max &&
        echo $$ >/sys/fs/cgroup/world/cgroup.procs' 1 2 3 4 5 6 7 8
    [[ "$outcomes " == *" 1 "*" 0 " ]]
}

# The locks' are above 32.
# shellcheck disable=SC2016
@test "no descriptor is left: at each number of them" {
    limited 'ulimit -n "$0"' 4 8 12 16 24 33 34 35 36 38 40 44 48
    [[ "$outcomes " == *" 4 "*" 1 "*" 0 " ]]
}

# shellcheck disable=SC2016
@test "no memory is left: at each limit of the address space" {
    limited 'ulimit -v "$0"' 16384 24576 32768 49152 65536 98304 \
        131072 196608
    [[ "$outcomes " == *" 5 "*" 0 " ]]
}
