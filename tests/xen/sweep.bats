#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with internal snapshots.
# Takes minutes.

load helpers
load sweep

setup_file()
{
    guest_new
    sweep_setup
}

teardown_file()
{
    guest_end
}

setup()
{
    assert_gold_only
}

@test "create: at each step a fault, and nothing is left but before or after" {
    sweep create kill-after after killall-after before
}

@test "revert: at each step a fault, and nothing is left but before or after" {
    sweep revert kill-after after before
}

@test "a guest started by an admin after a killed revert is not touched, nor what it wrote" {
    local id number

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
    # Nor while it reboots, and does not run.
    labguest tell "$guest" reboot
    until_true 60 eval "guest_is_gone || guest_shut_down"
    snap recover "$guest"
    assert_status 4
    assert_says "('xl snapshot-recover --abandon $guest' drops the record"
    labguest ready "$guest" 180
    assert_sound
    number=$(newest)
    guest_end
    snap recover "$guest"
    assert_status 4
    assert_says "was written to since the revert to 'gold' was cut off"
    guest_is_gone
    snap recover --abandon "$guest"
    assert_status 0
    labguest start "$guest"
    assert_scanned
    assert_not_back "$number"
    assert_gold_only
}

# bats test_tags=long
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
