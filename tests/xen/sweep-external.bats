#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with external snapshots: the undo of a
# switch that QEMU has made is a commit while the guest writes.
# Takes minutes.

load helpers
load sweep

setup_file()
{
    guest_new
    sweep_setup --external
}

teardown_file()
{
    guest_end
}

setup()
{
    assert_gold_only
}

@test "create: each step fails after it was done" {
    sweep create after
}

@test "create: kill -9 after each step" {
    sweep create kill-after
}

@test "create: kill -9 of the command and its guard after each step" {
    sweep create killall-after
}

@test "revert: each step fails after it was done" {
    sweep revert after
}

@test "revert: kill -9 after each step" {
    sweep revert kill-after
}
