#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Create and revert: two qcow2 disks, internal snapshots, the oracle writing.

load helpers

setup_file()
{
    guest_new
    snap create "$guest" name=gold
    gold_made
}

teardown_file()
{
    guest_end
}

@test "a snapshot leaves the guest running and tags both disks" {
    assert_sound
    assert_tags gold
    assert_nothing_pending
}

@test "after create the domain has exactly one monitor" {
    assert_monitored
}

@test "the files are root's alone and the config names the digest" {
    [ "$(stat -c %a "$snapshots/$guest/gold")" = 700 ]
    [ "$(stat -c %a "$snapshots/$guest/gold/memory.save")" = 600 ]
    [ "$(stat -c %a "$snapshots/$guest/gold/snapshot.cfg")" = 600 ]
    grep -q '^memory_digest = "xxh3-128:[0-9a-f]\{32\}"$' \
        "$snapshots/$guest/gold/snapshot.cfg"
}

@test "revert takes the number back and the oracle stays silent" {
    go_on
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_nothing_pending
    assert_monitored
}

@test "the snapshot survives: revert again" {
    go_on
    snap revert "$snapshots/$guest/gold/snapshot.cfg"
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_tags gold
}

# bats test_tags=long
@test "revert after the guest has rebooted" {
    reboots
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
}

@test "revert when the domain is not running" {
    reverts_when_not_running
}

@test "revert finds the domain also with a new uuid from xl create" {
    guest_end
    labguest start "$guest"
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
}

@test "a user's config serves both create and revert" {
    cat >"$BATS_TEST_TMPDIR/my.cfg" <<EOF
domain = "$guest"
name = "mine"
path = "$BATS_TEST_TMPDIR/mine"
description = "before the upgrade"
disks = [ ',,xvda', 'vdev=xvdb,snapshot=internal' ]
EOF
    snap create "$BATS_TEST_TMPDIR/my.cfg"
    assert_status 0
    [ "$output" = "$BATS_TEST_TMPDIR/mine/snapshot.cfg" ]
    assert_sound
    snap revert "$BATS_TEST_TMPDIR/my.cfg"
    assert_status 0
    assert_scanned
}

# bats test_tags=long
@test "with no config at all everything gets a sensible default" {
    snap create "$guest"
    assert_status 0
    [[ $output =~ ^$snapshots/$guest/[0-9]{8}T[0-9]{6}Z/snapshot.cfg$ ]]
    [[ $stderr =~ "stood still for "[0-9]+" ms" ]]
    assert_sound
}

@test "a stock xl restore accepts the memory image" {
    xl destroy "$guest"
    until_true 20 guest_is_gone
    for disk in "$disk_a" "$disk_b"; do
        qemu-img snapshot -a gold "$disk"
    done
    xl restore "$snapshots/$guest/gold/memory.save" 3>&-
    assert_back_at_gold
}

@test "Xen's own verifier accepts the memory image" {
    PYTHONPATH=/usr/lib/xen-4.17/lib/python \
        /usr/lib/xen-4.17/bin/verify-stream-v2 -f xl \
        -i "$snapshots/$guest/gold/memory.save"
}

@test "pages of zeros become holes in the memory image" {
    local bytes disk

    bytes=$(stat -c %s "$snapshots/$guest/gold/memory.save")
    disk=$(($(stat -c %b "$snapshots/$guest/gold/memory.save") * 512))
    [ "$disk" -lt $((bytes * 9 / 10)) ]
}

@test "revert -p leaves it paused, -e without a monitor" {
    snap revert -p -e "$guest" name=gold
    assert_status 0
    guest_paused
    monitor_count 0
    xl unpause "$guest"
    assert_back_at_gold
}

# bats test_tags=long
@test "revert --keep keeps the discarded state as a tag" {
    local kept

    snap revert --keep "$guest" name=gold
    assert_status 0
    kept=$(snapshot_tags | grep -c '^discarded-[0-9]*T[0-9]*Z$')
    [ "$kept" -eq 2 ]
    assert_back_at_gold
}

@test "create -p leaves the domain paused" {
    snap create -p "$guest" name=paused
    assert_status 0
    guest_paused
    xl unpause "$guest"
    assert_sound
}

@test "a dry run prints the steps and changes nothing" {
    snap create -n "$guest" name=dry
    assert_status 0
    [[ $output == *"memory-save: suspend and save"* ]]
    assert_no_trace dry
    snap revert -n "$guest" name=gold
    assert_status 0
    [[ $output == *"domain-destroy: destroy the running domain"* ]]
    assert_sound
}

@test "--json describes what was made" {
    snap create --json "$guest" name=json description='a "quoted" text'
    assert_status 0
    jq -e '.name == "json" and .pause_ms > 0 and .total_ms >= .pause_ms and
           .disks_pause_ms > 0 and .disks_pause_ms <= .pause_ms and
           (.disks | map(.vdev)) == ["xvda", "xvdb"] and
           .description == "a \"quoted\" text"' <<<"$output"
    [ "$(jq -r .memory.bytes <<<"$output")" = \
        "$(stat -c %s "$(jq -r .memory.path <<<"$output")")" ]
}

# bats test_tags=long
@test "no descriptor of the caller's lives on in QEMU or the monitor" {
    exec 9>"$BATS_TEST_TMPDIR/lock"
    flock 9
    snap revert "$guest" name=gold
    assert_status 0
    exec 9>&-
    flock -n "$BATS_TEST_TMPDIR/lock" true
}

@test "while it is being saved by somebody else, it is refused" {
    local save cat fifo=$BATS_TEST_TMPDIR/save

    mkfifo "$fifo"
    exec 7<>"$fifo"
    # Until somebody reads.
    xl save -c "$guest" "$fifo" 3>&- &
    save=$!
    until_true 60 pgrep -f "libxl-save-helper --save-domain"
    snap create "$guest" name=try
    assert_status 4
    assert_says "cannot snapshot domain '$guest': it is just being saved"
    snap revert "$guest" name=gold
    assert_status 4
    assert_says "cannot revert domain '$guest': it is just being saved"
    cat <&7 >/dev/null 3>&- &
    cat=$!
    wait "$save"
    kill "$cat"
    exec 7>&-
    assert_sound
    assert_nothing_pending
    # xl's monitor has seen it suspend, and gone.
    guest_end
    labguest start "$guest"
}

# bats test_tags=long
@test "a domain that its monitor is about to deal with is refused" {
    local monitor

    monitor=$(monitor_pids)
    kill -STOP "$monitor"
    labguest tell "$guest" poweroff
    until_true 60 guest_shut_down
    snap revert "$guest" name=gold
    kill -CONT "$monitor"
    assert_status 4
    assert_says "domain '$guest' has just ended, and its monitor (pid $monitor) is about to deal with it"
    assert_nothing_pending
    until_true 30 guest_is_gone
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
}

# bats test_tags=long
@test "a domain that has ended and is preserved goes back, or stays as it is" {
    guest_end
    labguest cfg "$guest" --mem 112 --cfg 'on_poweroff="preserve"' \
        --disk "$disk_a,qcow2,xvda,w" --disk "$disk_b,qcow2,xvdb,w"
    labguest start "$guest"
    labguest tell "$guest" poweroff
    until_true 60 guest_shut_down
    until_true 15 monitor_count 0
    run env XLSNAP_FAULT=no-return:after "$faulty" revert "$guest" name=gold
    assert_status 1
    guest_shut_down
    assert_nothing_pending
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_monitored
}
