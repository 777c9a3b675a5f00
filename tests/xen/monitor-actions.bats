#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What our monitor does when its domain ends, beyond monitor.bats: each action that
# on_poweroff and the like can name, "xl config-update", an ejected CD.
# Takes long.

load helpers

poweroff=0
reboot=1
crash=3
watchdog=4
soft_reset=5

core=/var/lib/xen/dump/monitor-actions

setup_file()
{
    guest_new --cfg 'on_poweroff="preserve"' --cfg 'on_reboot="coredump-restart"' \
        --cfg 'on_crash="coredump-destroy"' --cfg 'on_watchdog="destroy"'
    snap create "$guest" name=gold
    gold_made
}

teardown_file()
{
    guest_end
    rm -f "$core"
}

# back: at gold, and ours watches it.
back()
{
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_monitored
    rm -f "$core"
}

no_monitor_of_ours()
{
    ! pgrep -f "^xl-snapshot monitor $guest "
}

# comes_back ID: it is started again.
comes_back()
{
    until_true 180 eval "! guest_is_gone && [ \"\$(domid)\" != $1 ]"
    labguest ready "$guest" 180
    assert_sound
    assert_monitored
}

assert_core()
{
    [ "$(head -c 4 "$core" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] ||
        fail "no core"
}

@test "coredump-restart; preserve" {
    local id

    id=$(domid)
    end_with "$reboot"
    comes_back "$id"
    assert_core
    end_with "$poweroff"
    until_true 30 no_monitor_of_ours
    guest_shut_down
    # As xl's goes; it can be taken back.
    back
}

@test "coredump-destroy" {
    end_with "$crash"
    until_true 120 guest_is_gone
    assert_core
    until_true 15 no_monitor_of_ours
    back
}

@test "destroy" {
    end_with "$watchdog"
    until_true 60 guest_is_gone
    until_true 15 no_monitor_of_ours
    back
}

@test "a configuration of xl config-update is what it is started with" {
    local id new=$BATS_TEST_TMPDIR/new.cfg

    # "preserve" would not start it.
    sed -e 's/^on_reboot.*/on_reboot="restart"/' -e 's/^memory =.*/memory = 128/' \
        "/etc/xen/$guest.cfg" >"$new"
    xl config-update "$guest" "$new"
    # On which it would not be started.
    snap create "$guest" name=over "disks=[
        'vdev=xvda,snapshot=overlay,target=$disk_dir/a.ovl' ]"
    assert_status 4
    assert_told "disk 'xvda': no overlay while 'xl config-update' has stored what"
    assert_no_trace over
    id=$(domid)
    end_with "$reboot"
    comes_back "$id"
    [ "$(xl list "$guest" | awk 'NR == 2 { print $3 }')" = 128 ]
    no_monitor_of_ours
    snapshot updated
    id=$(domid)
    reboots
    [ "$(xl list "$guest" | awk 'NR == 2 { print $3 }')" = 128 ]
    assert_scanned
}

# cd_file: what is in the drive; empty: nothing.
cd_file()
{
    xl list -l "$guest" | jq -r \
        '.[0].config.disks[] | select(.vdev == "hdc") | .pdev_path // ""'
}

drive_is_empty()
{
    [ ! "$(cd_file)" ]
}

# hvm_guest CD: with our monitor.
hvm_guest()
{
    local cd=$1

    guest_end
    truncate -s 1M "$cd"
    labguest cfg "$guest" --type hvm --mem 144 --vcpus 1 \
        --cfg 'on_poweroff="destroy"' \
        --disk "$disk_a,qcow2,xvda,w" --disk "$disk_b,qcow2,xvdb,w" \
        --disk "$cd,raw,hdc,cdrom"
    labguest start "$guest"
    rm -rf "${snapshots:?}/$guest"
    snapshot "hvm$BATS_TEST_NUMBER"
    assert_monitored
}

# xl's own dies when its guest says so.
@test "a guest ejects its CD" {
    local cd=$disk_dir/cd.iso

    hvm_guest "$cd"
    [ "$(cd_file)" = "$cd" ]
    xenstore-write "/local/domain/$(domid)/device/vbd/5632/eject" eject
    until_true 60 drive_is_empty
    assert_sound
    assert_monitored
}

# As a guest does before it boots another kernel by kexec; this one has none.
@test "a soft reset" {
    local id log=/var/log/xen/xl-snapshot-$guest.log lines

    hvm_guest "$disk_dir/cd.iso"
    id=$(domid)
    lines=$(grep -c 'to die' "$log")
    xl config-update "$guest" "/etc/xen/$guest.cfg"
    end_with "$soft_reset"
    until_true 90 eval "[ \"\$(grep -c 'to die' $log)\" -gt $lines ]"
    [ "$(domid)" = "$id" ]
    assert_monitored
    # libxl has dropped that with the rest of its record, and has it again.
    cmp /var/lib/xen/userdata-d."$id".*.xl "/etc/xen/$guest.cfg"
    end_with "$poweroff"
    until_true 60 guest_is_gone
}
