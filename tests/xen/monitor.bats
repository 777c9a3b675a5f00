#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The domain's monitor after a create and after a revert, ours instead of xl's:
# it carries out on_reboot and the like, and lives as long as the domain.
# Takes long.

load helpers
load lvm

setup_file()
{
    guest_new --cfg 'on_crash="restart"' --cfg 'on_watchdog="rename-restart"'
    snap create "$guest" name=gold
    gold_made
}

teardown_file()
{
    guest_end
}

# And without what was kept of it.
setup()
{
    xl list | awk -v kept="^$guest-2" '$1 ~ kept { print $2 }' |
        xargs -r -n 1 xl destroy
}

crash=3
watchdog=4

# comes_back ID: it is started again.
comes_back()
{
    until_true 180 eval "! guest_is_gone && [ \"\$(domid)\" != $1 ]"
    labguest ready "$guest" 180
    assert_sound
    assert_monitored
}

gone_for_good()
{
    until_true 60 guest_is_gone
    until_true 15 eval "! pgrep -f '^xl-snapshot monitor $guest '"
}

# Each end that a domain can have, of ours; five times over.
lives()
{
    local id number life # not i: bats's run changes that one

    for life in 1 2 3 4 5; do
        reboots
        id=$(domid)
        xl reboot "$guest"
        comes_back "$id"
        id=$(domid)
        number=$(newest)
        end_with "$crash"
        comes_back "$id"
        assert_not_back "$((number - 20))"
    done
}

@test "after a create: it reboots, is rebooted, crashes, powers off" {
    grep -q "^Waiting for domain $guest " "/var/log/xen/xl-snapshot-$guest.log"
    pgrep -f "^xl-snapshot monitor $guest " || fail "$(ps ax)"
    lives
    labguest tell "$guest" poweroff
    gone_for_good
}

@test "after a revert: the same" {
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    lives
    xl destroy "$guest"
    gone_for_good
}

@test "on_crash and the like are those of the domain: rename-restart" {
    local id kept

    snap revert "$guest" name=gold
    assert_status 0
    id=$(domid)
    end_with "$watchdog"
    comes_back "$id"
    kept=$(xl domname "$id")
    [[ $kept == "$guest"-2* ]] || fail "it is called $kept"
    # The one that runs is meant; but the other has its disks, too.
    snap revert "$guest" name=gold
    assert_status 4
    assert_says "is in use by domain '$kept'"
    assert_sound
    guest_end
    snap revert "$guest" name=gold
    assert_status 4
    assert_says "domain '$kept', which has the snapshot's uuid, has ended and was kept"
    [ "$(xl domname "$id")" = "$kept" ]
    assert_nothing_pending
    xl destroy "$id"
    reverts_when_not_running
}

@test "a domain without a monitor gets none" {
    guest_end
    xl create -q -e "/etc/xen/$guest.cfg" 3>&-
    labguest ready "$guest" 60
    until_true 15 monitor_count 0
    snapshot without
    monitor_count 0
    guest_end
}

# As systemd ends what is in the group of a unit that has ended.
@test "it and QEMU do not stay in the control group of the command" {
    local group=/sys/fs/cgroup qemu

    control_groups
    guest_end
    mkdir "$group/guests" "$group/job"
    in_group guests labguest start "$guest" 3>&-
    run in_group job xl-snapshot create "$guest" name=nightly
    assert_status 0
    echo 1 >"$group/job/cgroup.kill"
    assert_monitored
    [ "$(group_of "$(monitor_pids)")" = /guests ]
    reboots
    run in_group job xl-snapshot revert "$guest" name=nightly
    assert_status 0
    echo 1 >"$group/job/cgroup.kill"
    assert_sound
    assert_monitored
    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    [ "$(group_of "$(monitor_pids)")" = /guests ]
    [ "$(group_of "$qemu")" = /guests ]
    reboots
    guest_end
    until_true 15 rmdir "$group/job"
    until_true 15 rmdir "$group/guests"
}

# What its own monitor was in may end with that.
@test "without QEMU: a control group of its own" {
    local group=/sys/fs/cgroup

    control_groups
    guest_end
    vg_setup
    lv_new thick root
    labguest cfg "$guest" --mem 112 --disk "/dev/$vg/root,raw,xvda,w"
    mkdir "$group/guests" "$group/job"
    in_group guests labguest start "$guest" 3>&-
    run ! xenstore-exists "/local/domain/$(domid)/image/device-model-pid"
    run in_group job xl-snapshot create "$guest" name=alone
    assert_status 0
    echo 1 >"$group/job/cgroup.kill"
    echo 1 >"$group/guests/cgroup.kill"
    [ "$(group_of "$(monitor_pids)")" = /xl-snapshot ]
    reboots
    run in_group job xl-snapshot revert "$guest" name=alone
    assert_status 0
    echo 1 >"$group/job/cgroup.kill"
    assert_sound
    [ "$(group_of "$(monitor_pids)")" = /xl-snapshot ]
    reboots
    guest_end
    assert_vg_whole
    vg_clear
    until_true 15 rmdir "$group/job"
    rmdir "$group/guests"
    until_true 15 rmdir "$group/xl-snapshot"
}
