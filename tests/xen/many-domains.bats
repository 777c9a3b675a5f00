#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs at the same time: twenty on twenty domains, ten on one.
# Takes long.

load helpers

setup_file()
{
    local name
    local -a options=(--mem 104 --slots 64 --interval 1000 --tick 100)

    export guest=first disks=/var/lib/guests/many-domains
    guests=$(printf 'many%d ' {1..20})
    export guests
    rm -rf "$disks" "${snapshots:?}"/many*
    mkdir -p "$disks"
    dom0_mib=$(xl list 0 | awk 'NR == 2 { print $3 }')
    export dom0_mib
    xl mem-set 0 $((dom0_mib - 450))
    for name in $guests; do
        labguest disk "$disks/$name.qcow2" 16M
        # libxl gives QEMU 10 s, of which the others need some.
        labguest start "$name" "${options[@]}" --disk "$disks/$name.qcow2,qcow2,xvda,w" ||
            labguest start "$name"
    done
}

teardown_file()
{
    local name

    for name in $guests; do
        destroyed "$name"
    done
    xl mem-set 0 "$dom0_mib"
}

setup()
{
    guest=many1
}

# at_once VERB: of each domain; $statuses are the exit statuses.
at_once()
{
    local name pid
    local -a running=()

    for name in $guests; do
        labguest mark "$name"
        xl "snapshot-$1" "$name" name=gold >/dev/null \
            2>"$BATS_TEST_TMPDIR/$name" 3>&- &
        running+=($!)
    done
    statuses=
    for pid in "${running[@]}"; do
        status=0
        wait "$pid" || status=$?
        statuses+="$status "
    done
}

assert_each_succeeded()
{
    [ "$statuses" = "$(printf '0 %.0s' {1..20})" ] || {
        cat "$BATS_TEST_TMPDIR"/many* >&2
        fail "exit statuses: $statuses"
    }
    assert_nothing_pending
}

@test "twenty domains at once: each has its snapshot, and goes back to it" {
    local name
    local -A at

    for name in $guests; do
        at[$name]=$(labguest now "$name")
    done
    at_once create
    assert_each_succeeded
    for name in $guests; do
        labguest wait "$name" $((${at[$name]} + 20))
        labguest check "$name"
    done
    at_once revert
    assert_each_succeeded
    for name in $guests; do
        [ "$(labguest lowest "$name")" -ge "${at[$name]}" ]
        labguest scan "$name" 300
    done
}

# of_ten COMMAND: of one domain; its arguments may have the number of the run, $0.
of_ten()
{
    local n pid
    local -a running=()

    for n in {1..10}; do
        bash -c "$1" "$n" >/dev/null 2>"$BATS_TEST_TMPDIR/$n" 3>&- &
        running+=($!)
    done
    won=0
    for pid in "${running[@]}"; do
        status=0
        wait "$pid" || status=$?
        case $status in
        0) won=$((won + 1)) ;;
        3) ;;
        *)
            cat "$BATS_TEST_TMPDIR"/? >&2
            fail "exit status of one"
            ;;
        esac
    done
    [ "$won" -ge 1 ] || fail "none has won"
    assert_sound
    assert_nothing_pending
}

# shellcheck disable=SC2016  # the other shell's
@test "ten creates of one domain at once: who does not win exits 3, and leaves nothing" {
    of_ten 'exec xl snapshot-create many1 "name=run$0"'
    [ "$(find "$snapshots/many1" -name snapshot.cfg -path '*/run*' | wc -l)" = "$won" ]
    [ "$(find "$snapshots/many1" -name 'run*' | wc -l)" = "$won" ]
    [ "$(qemu-img snapshot -U -l "$disks/many1.qcow2" | grep -c ' run')" = "$won" ]
}

@test "ten reverts of one domain at once: who does not win exits 3" {
    of_ten 'exec xl snapshot-revert many1 name=gold'
    labguest scan many1 300
}
