#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with a disk of every kind (mixed.bash).
# Takes minutes.

load helpers
load mixed
load sweep

setup_file()
{
    mixed_new
    sweep_setup "$mixed_disks"
}

teardown_file()
{
    mixed_end
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

@test "revert: kill -9 after each step" {
    sweep revert kill-after
}
