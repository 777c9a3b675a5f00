#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# HVM guests with PV drivers. Each disk of theirs is an emulated one, too, until
# the guest unplugs it; and a live save leaves QEMU without its images. Two CD-ROM
# drives, one of them empty, take no part.
# Takes long.

load helpers

setup_file()
{
    mkdir -p /var/lib/guests
    truncate -s 4M /var/lib/guests/hvm.iso
    guest_new --type hvm --mem 160 --vcpus 2 --cfg 'ms_vm_genid="generate"' \
        --disk /var/lib/guests/hvm.iso,raw,hdc,cdrom --disk ,raw,hdd,cdrom
}

teardown_file()
{
    guest_end
    rm -f /var/lib/guests/hvm.iso
}

qemu_says()
{
    xl qemu-monitor-command "$guest" "$1" | tr -d '\r'
}

# It is built, and has been let go.
unpaused()
{
    [[ $(xl list "$guest" | awk 'NR == 2 { print $5 }') == ??-* ]]
}

assert_qemu_runs()
{
    qemu_says "info status" | grep -qx "VM status: running" ||
        fail "QEMU: $(qemu_says "info status")"
}

# The guest's, by which it knows whether it was taken back.
generation()
{
    xl list -l "$guest" | jq -ce '.[0].config.b_info."type.hvm".ms_vm_genid'
}

# One has its medium, one has none.
assert_cdroms()
{
    local drives

    drives=$(qemu_says "info block")
    [[ $drives == *"hvm.iso (raw, read-only)"*": [not inserted]"* ]] ||
        fail "$drives"
}

@test "create, internal and external, and revert" {
    local generation

    assert_cdroms
    generation=$(generation)
    snapshot still "disks=['vdev=xvdb,snapshot=external']"
    [ "$(generation)" = "$generation" ]
    gold_made
    [ "$(grep -o 'vdev=[a-z]*' "$snapshots/$guest/still/snapshot.cfg" | xargs)" = \
        "vdev=xvda vdev=xvdb" ]
    assert_sound
    assert_qemu_runs
    assert_monitored
    go_on
    snap revert "$guest" name=still
    assert_status 0
    assert_back_at_gold
    [ "$(generation)" != "$generation" ]
    assert_scanned
    assert_qemu_runs
    assert_cdroms
    assert_monitored
}

# bats test_tags=long
@test "another CD meanwhile: it fails, and all is undone" {
    create_fails_while xl cd-eject "$guest" hdc
    assert_says "(from vbd/5632=aio:/var/lib/guests/hvm.iso to vbd/5632=)"
    xl cd-insert "$guest" hdc /var/lib/guests/hvm.iso
    [[ $(qemu_says "info block") == *"hdc-raw: /var/lib/guests/hvm.iso "* ]]
    assert_qemu_runs
}

@test "its kernel is gone, which QEMU opens again: refused before the destroy" {
    mv /usr/local/lib/lab/vmlinuz "$BATS_TEST_TMPDIR/vmlinuz"
    snap revert "$guest" name=still
    mv "$BATS_TEST_TMPDIR/vmlinuz" /usr/local/lib/lab/vmlinuz
    assert_status 4
    assert_says "its configuration has the kernel '/usr/local/lib/lab/vmlinuz', "
    assert_sound
}

@test "live: the same, and the guest stands still for a part of the time only" {
    live_is_shorter a b "disks=['vdev=xvdb,snapshot=external']" -f
    go_on
    snap revert "$guest" name=b
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_qemu_runs
    assert_monitored
}

@test "killed while QEMU has no images, or has just taken them back" {
    local context

    for context in memory-save:kill-after qemu-activate:kill-after; do
        run env XLSNAP_FAULT="$context" "$faulty" create --live "$guest" name=try
        assert_status 5
        assert_sound
        snap recover "$guest"
        assert_status 0
        assert_no_trace try
        assert_qemu_runs
    done
    assert_scanned
}

@test "it fails there: all is undone" {
    run env XLSNAP_FAULT=qemu-activate:before "$faulty" create --live "$guest" name=try
    assert_status 1
    assert_sound
    assert_no_trace try
    assert_qemu_runs
    assert_scanned
}

@test "a revert fails or is killed in its last look: the guest goes on" {
    local where id

    id=$(domid)
    for where in no-return:after last-look:kill-after last-look:killall-after; do
        run env XLSNAP_FAULT="$where" "$faulty" revert "$guest" name=still
        case $where in
        *:after) assert_status 1 ;;
        *) assert_status 5 ;;
        esac
        until_true 60 no_guard
        if [ "$where" = last-look:killall-after ]; then
            guest_paused
        else
            assert_sound
        fi
        snap recover
        assert_status 0
        assert_sound
        assert_qemu_runs
        assert_nothing_pending
        [ "$(domid)" = "$id" ]
    done
}

@test "it reboots; before its PV drivers have taken over it is refused" {
    local id

    id=$(domid)
    labguest tell "$guest" reboot
    until_true 60 eval "! guest_is_gone && [ \"\$(domid)\" != $id ]"
    until_true 60 unpaused
    snap create "$guest" name=try
    assert_status 4
    assert_says "disk 'xvda': the guest has it as the emulated disk 'ide0-hd0' still"
    labguest ready "$guest" 120
    snapshot after
    assert_scanned
    assert_monitored
}
