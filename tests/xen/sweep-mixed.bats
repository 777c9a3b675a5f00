#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The sweep of faults (sweep.bash) with a disk of every kind (mixed.bash).
# Takes long.

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

@test "create: at each step a fault, and nothing is left but before or after" {
    sweep create kill-after killall-after after before
}

@test "revert: at each step a fault, and nothing is left but before or after" {
    sweep revert kill-after after before
}
