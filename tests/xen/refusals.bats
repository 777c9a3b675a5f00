#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is refused, and that the running domain is not touched by it.

load helpers

setup_file()
{
    guest_new
    snap create "$guest" name=good
    [ "$status" -eq 0 ]
    good=$snapshots/$guest/good
    export good
}

teardown_file()
{
    guest_end
}

setup()
{
    id=$(domid)
}

# The same domain runs on, soundly, and nothing was left.
assert_untouched()
{
    [ "$(domid)" = "$id" ] || fail "the domain is another one"
    assert_sound
    assert_nothing_pending
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    [ -z "$output" ] || fail "stdout is not empty"
    assert_untouched
}

# damaged COMMAND...: a copy of the good snapshot, damaged by COMMAND in it.
damaged()
{
    cp -a --sparse=always "$good" "$BATS_TEST_TMPDIR/s"
    sed -i "s|$good|$BATS_TEST_TMPDIR/s|" "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    (cd "$BATS_TEST_TMPDIR/s" && "$@")
}

@test "revert to a copy of the snapshot elsewhere works" {
    damaged true
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_status 0
    assert_sound
}

@test "revert without the memory image is refused" {
    damaged rm memory.save
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "cannot open memory image '$BATS_TEST_TMPDIR/s/memory.save': No such file"
}

@test "revert with a truncated memory image is refused" {
    damaged truncate -s -1 memory.save
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "is truncated"
}

@test "revert with one flipped byte in the memory image is refused" {
    damaged dd if=/dev/zero of=memory.save bs=1 count=1 seek=5000 conv=notrunc
    if cmp -s "$good/memory.save" "$BATS_TEST_TMPDIR/s/memory.save"; then
        printf x | dd of="$BATS_TEST_TMPDIR/s/memory.save" bs=1 seek=5000 conv=notrunc
    fi
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "its digest is"
}

@test "revert with something behind the end of the memory image is refused" {
    damaged sh -c 'echo >> memory.save'
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "something after the end of the stream"
}

@test "revert when one disk has lost its tag is refused" {
    snapshot lost
    local qmp

    qmp='{"execute":"qmp_capabilities"}
{"execute":"blockdev-snapshot-delete-internal-sync","arguments":{"device":"xvdb-qcow2","name":"lost"}}'
    { echo "$qmp"; sleep 2; } |
        socat - "UNIX-CONNECT:/var/run/xen/qmp-libxenstat-$id"
    snap revert "$guest" name=lost
    assert_refused "disk 'xvdb': '$disk_b' has no snapshot named 'lost'"
}

@test "revert when snapshot.cfg has lost a disk is refused" {
    damaged sed -i '/vdev=xvdb/d' snapshot.cfg
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "disk 'xvdb' ('$disk_b') is in the memory image's configuration, but not in snapshot.cfg"
}

@test "revert to a snapshot of another domain is refused" {
    damaged sed -i 's/^domain = .*/domain = "other"/' snapshot.cfg
    snap revert "$BATS_TEST_TMPDIR/s/snapshot.cfg"
    assert_refused "is of domain '$guest'"
}

@test "a name that is taken on the disks is refused" {
    snap create "$guest" name=good "path=$BATS_TEST_TMPDIR/other"
    assert_refused "has a snapshot named 'good' already"
    [ ! -e "$BATS_TEST_TMPDIR/other" ]
}

@test "a path that holds a snapshot already is refused" {
    snap create "$guest" name=new "path=$good"
    assert_refused "'$good/snapshot.cfg' exists already"
    assert_no_tag new
}

@test "a path on a file system mounted read-only is refused" {
    mkdir "$BATS_TEST_TMPDIR/ro"
    mount -t tmpfs -o ro none "$BATS_TEST_TMPDIR/ro"
    snap create "$guest" name=new "path=$BATS_TEST_TMPDIR/ro/snap"
    umount "$BATS_TEST_TMPDIR/ro"
    assert_refused "cannot write to directory '$BATS_TEST_TMPDIR/ro': Read-only"
}

@test "a path that others can write to is refused" {
    mkdir -m 777 "$BATS_TEST_TMPDIR/open"
    snap create "$guest" name=new "path=$BATS_TEST_TMPDIR/open"
    assert_refused "can be written by others"
}

@test "names that others could change are refused" {
    local way=$BATS_TEST_TMPDIR/way

    mkdir -p "$way/in"
    chown 4711 "$way"
    snap create "$guest" name=new "path=$way/in/snap"
    assert_refused "'$way' belongs to user 4711, who could put something else in its place"
    [ -z "$(ls "$way/in")" ]
    chmod 770 "$disk_dir"
    snap create -n "$guest" name=new
    chmod 755 "$disk_dir"
    assert_status 0
    assert_told "disk 'xvda': '$disk_dir' can be written to by others"
    assert_untouched
}

@test "a directory that somebody else makes meanwhile, under the name we were to make" {
    local way=$BATS_TEST_TMPDIR/way/in

    made_by_another()
    {
        mkdir -p "$way"
        chown 4711 "$way"
    }
    snap_before directory made_by_another create "$guest" name=new "path=$way/snap"
    assert_refused "'$way' belongs to user 4711, who could put something else in its place"
    [ -z "$(ls "$way")" ]
}

@test "revert to what others could have written is refused" {
    local copy=$BATS_TEST_TMPDIR/s

    damaged true
    chmod 666 "$copy/memory.save"
    snap revert "$copy/snapshot.cfg"
    assert_refused "'$copy/memory.save' can be written to by others (mode 0666)"
    chmod 600 "$copy/memory.save"
    chown 4711 "$copy/snapshot.cfg"
    snap revert -f "$copy/snapshot.cfg"
    assert_refused "'$copy/snapshot.cfg' belongs to user 4711"
    chown 0 "$copy/snapshot.cfg"
    chown 4711 "$copy"
    snap revert "$copy/snapshot.cfg"
    assert_refused "'$copy' belongs to user 4711"
}

@test "too little space for the memory image is refused" {
    mkdir "$BATS_TEST_TMPDIR/small"
    mount -t tmpfs -o size=50M,mode=700 none "$BATS_TEST_TMPDIR/small"
    snap create "$guest" name=new "path=$BATS_TEST_TMPDIR/small"
    umount "$BATS_TEST_TMPDIR/small"
    assert_refused "has only 5"
}

@test "domain 0 is refused" {
    snap create 0
    assert_refused "it is domain 0"
}

@test "an unknown domain is refused" {
    snap create nosuchguest
    assert_refused "there is no domain 'nosuchguest'"
}

@test "a Xen of another version, or one that does not answer" {
    snap_without privcmd create "$guest" name=new
    assert_refused "this build is for Xen $(xl info xen_version | cut -d. -f1-2), but Xen "
    snap_without hypercall create "$guest" name=new
    assert_status 1
    assert_says "libxl cannot list the domains"
    snap_without hypercall revert "$guest" name=good
    assert_status 1
    assert_says "libxl cannot list the domains"
    assert_untouched
}

@test "a paused domain is refused, and stays paused" {
    xl pause "$guest"
    snap create "$guest" name=new
    xl unpause "$guest"
    assert_refused "it is paused"
}

@test "an unknown disk is refused" {
    snap create "$guest" name=new "disks=[',,xvdq']"
    assert_refused "has no writable disk 'xvdq'"
}

@test "leaving out a writable disk is refused without --force" {
    snap create "$guest" name=new "disks=['vdev=xvdb,snapshot=no']"
    assert_refused "disk 'xvdb' is writable"
}

@test "a disk's wrong format is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,format=raw']"
    assert_refused "disk 'xvda' is of format qcow2, not raw"
}

@test "live is refused for a PV guest where Xen cannot" {
    snap create --live "$guest" name=new
    assert_refused "without the shadow paging"
    assert_no_trace new
}

@test "a second run at the same time exits 3 and the first is not disturbed" {
    xl snapshot-create -q "$guest" name=first >"$BATS_TEST_TMPDIR/out" 3>&- &
    local first=$!

    until_true 30 eval "[ -n \"\$(ls $pending)\" ]"
    snap create "$guest" name=second
    local second_status=$status second_stderr=$stderr

    wait "$first"
    status=$second_status stderr=$second_stderr
    assert_status 3
    assert_says "holds domain '$guest'"
    assert_untouched
    [ -f "$snapshots/$guest/first/snapshot.cfg" ]
    assert_no_tag second
}

@test "a disk that another process has open is not reverted" {
    guest_end
    exec 7<"$disk_a"
    snap revert "$guest" name=good
    exec 7<&-
    assert_status 4
    assert_says "disk 'xvda' ('$disk_a') is open in process"
    assert_nothing_pending
    snap revert "$guest" name=good
    assert_status 0
    assert_sound
}

@test "revert is refused while the name is another domain's" {
    guest_end
    labguest cfg "$guest" --mem 112 --disk "/var/lib/guests/x.qcow2,qcow2,xvda,w"
    labguest disk /var/lib/guests/x.qcow2
    labguest start "$guest"
    id=$(domid)
    snap revert "$guest" name=good
    assert_refused "is another one than the snapshot's"
}
