#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's monitor misbehaves (fakes/qmp-between) at each command of a create and of a
# revert: the command ends, the guest runs on, and things are as before or as after.
# Takes long.

load helpers
load sweep

setup_file()
{
    guest_new
    sweep_setup "$disks"
}

teardown_file()
{
    guest_end
}

setup()
{
    assert_gold_only
}

teardown()
{
    between_end
}

# Internal, and external: with files and names.
disks="disks=['vdev=xvda,snapshot=external', 'vdev=xvdb,snapshot=internal']"

# between [NUMBER HOW]
between()
{
    local log=$BATS_TEST_TMPDIR/commands
    local socket

    socket=/run/xen/qmp-libxenstat-$(domid)
    : >"$log"
    "$BATS_TEST_DIRNAME/fakes/qmp-between" "$socket" "$log" "$@" \
        >"$BATS_TEST_TMPDIR/between" 2>&1 3>&- &
    between=$!
    until_true 60 [ -S "$socket.real" ]
    until_true 60 [ -S "$socket" ]
}

between_end()
{
    [ "${between-}" ] || return 0
    kill "$between"
    wait "$between" || fail "$(cat "$BATS_TEST_TMPDIR/between")"
    between=
}

# commands COMMAND...: how many it sends
commands()
{
    between
    snap "$@"
    assert_status 0
    between_end
    sent=$(wc -l <"$BATS_TEST_TMPDIR/commands")
}

# misbehaves NUMBER HOW COMMAND...: its exit status becomes $ended.
misbehaves()
{
    between "$1" "$2"
    # shellcheck disable=SC2034  # fail has it
    context="$2 at $1, $3"
    run --separate-stderr timeout -k 10 500 xl-snapshot "${@:3}"
    between_end
    ended=$status
    context+=" ($(sed -n "$1p" "$BATS_TEST_TMPDIR/commands"))"
    case $ended in
    0 | 1 | 4 | 5) ;;
    *) fail "exit status" ;;
    esac
    until_true 200 no_guard || fail "the guard stays"
    assert_sound
    if [ "$ended" -eq 5 ]; then
        snap recover
        assert_status 0
        assert_sound
    fi
    assert_nothing_pending
    assert_names_served
}

create_misbehaves()
{
    local ended nodes outcome=before

    nodes=$(qemu_nodes)
    misbehaves "$1" "$2" create "$guest" name=try "$disks"
    if [ -f "$snapshots/$guest/try/snapshot.cfg" ]; then
        outcome=after
        forget_try
    else
        [ "$ended" -ne 0 ] || fail "success, and no snapshot"
        [ "$(qemu_nodes)" = "$nodes" ] || fail "QEMU has other images open"
    fi
    assert_gold_only
    assert_monitored
    printf '# %s: %s\n' "$context" "$outcome" >&3
}

revert_misbehaves()
{
    local ended id

    id=$(domid)
    misbehaves "$1" "$2" revert "$guest" name=gold
    [ "$ended" -eq 0 ] || [ "$(domid)" = "$id" ] || fail "another domain"
    assert_gold_only
    assert_monitored
    printf '# %s: %s\n' "$context" \
        "$([ "$(domid)" = "$id" ] && echo before || echo after)" >&3
}

# each_command HOW
each_command()
{
    local sent number # not i: bats's run changes that one

    commands create "$guest" name=try "$disks"
    [ "$sent" -ge 4 ] || fail "only $sent commands"
    forget_try
    assert_gold_only
    for ((number = 1; number <= sent; number++)); do
        create_misbehaves "$number" "$1"
    done
    commands revert "$guest" name=gold
    for ((number = 1; number <= sent; number++)); do
        revert_misbehaves "$number" "$1"
    done
    assert_scanned
    reboots
    assert_scanned
}

@test "QEMU's monitor answers with garbage" {
    each_command garbage
}

@test "QEMU's monitor answers with half a reply, and is silent" {
    each_command half
}

@test "QEMU's monitor answers without end" {
    each_command flood
}

@test "QEMU's monitor is closed, with the command carried out" {
    each_command close
}

@test "QEMU's monitor is closed, with the command not seen" {
    each_command lost
}

@test "QEMU's monitor is closed, and gone for good" {
    each_command dead
}
