#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every step of create and revert x {fails after, kill -9 after}. The steps
# come from the dry run, so a new step is swept by itself.
# Needs the build with fault points.
# Takes minutes.

load helpers

setup_file()
{
    guest_new
    snap create "$guest" name=gold
    [ "$status" -eq 0 ]
}

teardown_file()
{
    guest_end
}

setup()
{
    assert_gold_only
}

# steps COMMAND...: the names of its steps, from the dry run.
steps()
{
    "$faulty" "$@" -n | sed 's/^ *[0-9]*\. \([^:]*\):.*/\1/' | uniq
}

# fault STEP:WHEN COMMAND...
fault()
{
    run env XLSNAP_FAULT="$1" "$faulty" "${@:2}"
}

no_guard()
{
    ! pgrep -f "^xl-snapshot guard $guest " >/dev/null
}

assert_gold_only()
{
    assert_nothing_pending
    assert_tags gold
    [ "$(ls "$snapshots/$guest")" = gold ] || fail "files are left"
}

# Step, moment: before and after are the only outcomes, and the guest runs.
check_create()
{
    local where="$1:$2" complete=0 node

    fault "$where" create "$guest" name=try
    [ "$status" -ne 0 ] || fail "$where: the fault had no effect"
    if [ "$2" = after ]; then
        [ "$status" -eq 1 ] || fail "$where: not 1"
    else
        [ "$status" -eq 5 ] || fail "$where: was not killed"
    fi
    assert_sound || fail "$where"
    until_true 60 no_guard || fail "$where: the guard stays"
    snap recover "$guest"
    assert_status 0 || fail "$where"
    if [ -f "$snapshots/$guest/try/snapshot.cfg" ]; then
        complete=1
        assert_tags gold try || fail "$where"
        for node in xvda-qcow2 xvdb-qcow2; do
            xl qemu-monitor-command "$guest" \
                "snapshot_delete_blkdev_internal $node try"
        done
        rm -r "$snapshots/$guest/try"
    fi
    assert_gold_only || fail "$where"
    assert_monitored || fail "$where"
    printf '# %s: %s\n' "$where" \
        "$([ $complete = 1 ] && echo after || echo before)" >&3
}

# After a fault in a revert the domain is where it was, or recover brings it
# to the snapshot.
check_revert()
{
    local where="$1:$2" id before

    id=$(domid)
    before=$(newest)
    fault "$where" revert "$guest" name=gold
    [ "$status" -ne 0 ] || fail "$where: the fault had no effect"
    if [ "$status" -eq 1 ]; then
        [ "$(domid)" = "$id" ] || fail "$where: exit 1, but another domain"
        assert_sound || fail "$where"
    fi
    snap recover "$guest"
    assert_status 0 || fail "$where"
    assert_sound || fail "$where"
    labguest scan "$guest" 120 >/dev/null || fail "$where: scan"
    assert_gold_only || fail "$where"
    assert_monitored || fail "$where"
    printf '# %s: %s\n' "$where" \
        "$([ "$(domid)" = "$id" ] && echo before || echo after)" >&3
}

# sweep CHECK MOMENT COMMAND...
sweep()
{
    local check=$1 all step n=0

    all=$(steps "${@:3}")
    for step in $all; do
        "$check" "$step" "$2"
        n=$((n + 1))
    done
    [ "$n" -ge 7 ] || fail "only $n steps"
}

@test "create: each step fails after it was done" {
    sweep check_create after create "$guest" name=try
}

@test "create: kill -9 after each step" {
    sweep check_create kill-after create "$guest" name=try
}

@test "revert: each step fails after it was done" {
    sweep check_revert after revert "$guest" name=gold
}

@test "revert: kill -9 after each step" {
    sweep check_revert kill-after revert "$guest" name=gold
}

@test "a guest started by an admin after a killed revert is not touched" {
    local id

    fault domain-destroy:kill-after revert "$guest" name=gold
    assert_status 5
    labguest start "$guest"
    id=$(domid)
    snap recover "$guest"
    assert_status 4
    assert_says "has been started meanwhile"
    [ "$(domid)" = "$id" ]
    assert_sound
    snap create "$guest" name=try
    assert_status 4
    assert_says "an earlier revert of domain '$guest' was not finished"
    snap recover --abandon "$guest"
    assert_status 0
    assert_sound
    assert_gold_only
}

@test "the domain of a killed revert comes back by itself when nobody meddles" {
    fault disk-revert:kill-before revert "$guest" name=gold
    assert_status 5
    guest_is_gone
    snap recover
    assert_status 0
    [ "$output" = "domain '$guest' is back at snapshot 'gold'" ]
    assert_scanned
    assert_monitored
}
