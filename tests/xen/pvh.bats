#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A PVH guest with two vCPUs: create, live or not, and revert.

load helpers

setup_file()
{
    guest_new --type pvh --vcpus 2 --dirty-mb-s 2
}

teardown_file()
{
    guest_end
}

@test "create and revert of a PVH guest" {
    snapshot still
    assert_sound
    snap revert "$guest" name=still
    assert_status 0
    assert_scanned
    assert_monitored
}

# bats test_tags=long
@test "live: the guest stands still for a part of the time only; and back, twice" {
    local i

    live_is_shorter a b
    for i in 1 2; do
        go_on
        snap revert "$guest" name=b
        assert_status 0
        assert_back_at_gold
        assert_scanned
    done
    assert_monitored
}

# bats test_tags=long
@test "a reboot after a live snapshot and after a revert" {
    reboots
}

# As fast as it can, all that it has: so the rounds end by their number.
# bats test_tags=long
@test "live, while it writes faster than it can be saved: bounded, and told" {
    local bytes

    guest_end
    labguest start "$guest" --type pvh --mem 192 --vcpus 2 --dirty-mb-s 4000 \
        --dirty-set 48 --disk "$disk_a,qcow2,xvda,w" --disk "$disk_b,qcow2,xvdb,w"
    run --separate-stderr xl snapshot-create --json --live "$guest" name=fast
    assert_status 0
    assert_sound
    jq -e '.rounds >= 2 and .rounds <= 6' <<<"$output"
    bytes=$(jq .memory.bytes <<<"$output")
    # The pages that it writes to are there more than once.
    [ "$bytes" -gt $(((192 + 48) << 20)) ]
    [ "$bytes" -lt $((7 * 192 << 20)) ]
    gold_made
    go_on
    snap revert "$guest" name=fast
    assert_status 0
    assert_back_at_gold
    assert_scanned
}

# To itself: where libxl's log-dirty works.
# bats test_tags=long
@test "xl migrate: its snapshots are its own there, and it can have new ones" {
    local id

    id=$(domid)
    # xenconsoled's log of the domain that comes in has its first name.
    ln -sf "guest-$guest.log" "/var/log/xen/console/guest-$guest--incoming.log"
    snapshot before
    gold_made
    go_on
    xl migrate -s '' "$guest" 'xl migrate-receive' 3>&-
    [ "$(domid)" != "$id" ]
    assert_scanned
    assert_not_back "$((gold_number + 12))"
    snapshot after
    assert_monitored
    snap revert "$guest" name=before
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_monitored
    number=$(newest)
    snap revert "$guest" name=after
    assert_status 0
    assert_up_at "$((gold_number + 12))" "$number"
    reboots
    rm "/var/log/xen/console/guest-$guest--incoming.log"
}
