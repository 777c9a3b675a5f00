#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The world changes between two steps: before each step of create and of revert the
# command is stopped, and goes on when QEMU has been killed, the domain destroyed, the
# disk of the memory image has begun to fail, or the file system of libxl's state and
# of our record is full. It ends; the guest does not stand still for it; once the world
# is mended one snapshot-recover, and things are as before or as after.
# Takes long.

load helpers
load sweep
load world

setup()
{
    case $BATS_TEST_DESCRIPTION in *"no space"*) small_state ;; esac
    flaky_disk
    guest_new
    earlier=$(newest)
    overlays="disks=['vdev=xvda,snapshot=overlay,target=$dir/a.try',
        'vdev=xvdb,snapshot=overlay,target=$dir/b.try']"
    case $BATS_TEST_DESCRIPTION in
    revert*)
        snapshot gold "path=$dir/gold"
        gold=$(newest)
        ;;
    esac
}

teardown()
{
    pkill -KILL -f "^$faulty " || true
    end_guest
    world_mended
}

end_guest()
{
    destroyed "$guest"
    until_true 20 guest_is_gone
}

# at_step STEP CHANGE COMMAND...: it is stopped there, and goes on after the CHANGE.
at_step()
{
    snap_before "$@"
    case $status in
    0 | 1 | 4 | 5) ;;
    *) fail "not an exit status of these" ;;
    esac
    # It may wait for 150 s whether the guest suspends yet.
    until_true 200 no_guard || fail "the guard stays"
    [ "$status" -eq 5 ] || assert_nothing_pending
    guest_is_gone || ! guest_shut_down || fail "the guest stands still"
}

recovers()
{
    snap recover
    assert_status 0
    assert_nothing_pending
}

# QEMU, which serves its disks, is killed.
qemu_dies()
{
    qemu_signal KILL
}

# Within a revert there is none for a while.
domain_ends()
{
    if guest_is_gone; then
        injected=
    else
        xl destroy "$guest"
    fi
}

disk_fails()
{
    becomes error
}

disk_mended()
{
    umount "$dir"
    becomes linear LOOP 0
    mount "/dev/mapper/$device" "$dir"
}

# As after an error that the file system has seen (ext4(5), errors=).
becomes_read_only()
{
    mount -o remount,errors=remount-ro "$dir"
    echo 1 >"/sys/fs/ext4/$(basename "$(realpath "/dev/mapper/$device")")/trigger_fs_error"
    run ! touch "$dir/something"
}

writable_again()
{
    umount "$dir"
    run e2fsck -fy "/dev/mapper/$device"
    mount "/dev/mapper/$device" "$dir"
}

no_space()
{
    ! cat /dev/zero >/var/lib/xen/filler 2>/dev/null
}

space_again()
{
    rm /var/lib/xen/filler
}

# assert_as_told STATUS: success is as after, and what failed (but for 5) as before.
assert_as_told()
{
    case $1 in
    0) [ "$outcome" = after ] || fail "success, but it is as $outcome" ;;
    1 | 4) [ "$outcome" = before ] || fail "failed, but it is as $outcome" ;;
    esac
}

# each CHECK COMMAND...: at each of its steps
each()
{
    local step n=0 context

    for step in $(steps "${@:2}" | grep -v /); do
        context="$2, before $step" injected=yes
        "$1" "$step" "${@:2}"
        [ "$injected" ] || continue
        printf '# %s, %s: %s\n' "$context" "${change//_/ }" "$outcome" >&3
        n=$((n + 1))
    done
    [ "$n" -ge 7 ]
}

# The guest is gone after it, or has no disks any more.
create_without_guest()
{
    local ended last

    last=$(labguest last "$guest")
    at_step "$1" "$change" "${@:2}"
    ended=$status
    end_guest
    assert_images_sound
    recovers
    create_outcome "$last" "$last"
    assert_as_told "$ended"
    assert_no_trace try
    assert_monitored
}

# The disk of the overlays fails, and so, later on, the guest's own: it is ended. What
# it was told to be written is there all the same.
create_on_failing()
{
    local before ended last

    before=$(labguest last "$guest")
    at_step "$1" "$change" "${@:2}"
    ended=$status
    last=$(labguest last "$guest")
    end_guest
    "$mended"
    recovers
    outcome=before
    if [ -f "$snapshots/$guest/try/snapshot.cfg" ]; then
        outcome=after
        snap revert "$guest" name=try
        assert_status 0
        lowest=$(labguest lowest "$guest")
        [ "$lowest" -ge "$before" ] || fail "$lowest: 'try' lacks records up to $before"
        assert_scanned
        end_guest
        rm -r "${snapshots:?}/$guest/try" "$dir"/*.try
        last=$before
    fi
    [ "$(ls "$dir")" = lost+found ] || fail "overlays are left"
    start_again
    [ "$lowest" -ge "$last" ] || fail "$lowest: records up to $last are lost"
    assert_as_told "$ended"
    assert_no_trace try
    assert_monitored
}

# The guest goes on.
create_with_guest()
{
    local ended

    at_step "$1" "$change" "${@:2}"
    ended=$status
    assert_sound
    "$mended"
    recovers
    assert_sound
    outcome=before
    if [ -f "$try/snapshot.cfg" ]; then
        outcome=after
        snap revert "$try/snapshot.cfg"
        assert_status 0
        forget_try
        rm -rf "$try"
    fi
    assert_as_told "$ended"
    [ ! -e "$try" ] || fail "$try is left"
    assert_no_trace try
    assert_scanned
    assert_monitored
}

revert_whatever()
{
    local last ended

    go_on "$((gold + 60))"
    last=$(newest)
    labguest mark "$guest"
    at_step "$1" "$change" "${@:2}"
    ended=$status
    "$mended"
    recovers
    ! guest_is_gone || assert_images_sound
    revert_outcome "$last" "$earlier"
    assert_as_told "$ended"
    assert_tags gold
    assert_monitored
}

@test "create: QEMU dies before a step" {
    change=qemu_dies
    each create_without_guest create "$guest" name=try
}

@test "create: the domain is destroyed before a step" {
    change=domain_ends
    each create_without_guest create "$guest" name=try
}

@test "create: the disk of the memory image fails before a step" {
    change=disk_fails mended=disk_mended try=$dir/try
    each create_with_guest create "$guest" name=try "path=$try"
}

@test "create: the file system of the memory image turns read-only before a step" {
    change=becomes_read_only mended=writable_again try=$dir/try
    each create_with_guest create "$guest" name=try "path=$try"
}

@test "create: the disk of the overlays fails before a step" {
    change=disk_fails mended=disk_mended
    each create_on_failing create "$guest" name=try "$overlays"
}

@test "create: there is no space for libxl's state before a step" {
    change=no_space mended=space_again try=$snapshots/$guest/try
    each create_with_guest create "$guest" name=try
}

@test "revert: the domain is destroyed before a step" {
    change=domain_ends mended=true
    each revert_whatever revert "$dir/gold/snapshot.cfg"
}

@test "revert: the disk of the memory image fails before a step" {
    change=disk_fails mended=disk_mended
    each revert_whatever revert "$dir/gold/snapshot.cfg"
}

@test "revert: the file system of the memory image turns read-only before a step" {
    change=becomes_read_only mended=writable_again
    each revert_whatever revert "$dir/gold/snapshot.cfg"
}

@test "revert: there is no space for libxl's state before a step" {
    change=no_space mended=space_again
    each revert_whatever revert "$dir/gold/snapshot.cfg"
}
