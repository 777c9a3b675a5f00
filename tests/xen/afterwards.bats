#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What an admin does with a domain before and after its snapshots: its memory,
# vCPUs, disks and name change; its network, console and clock go on.

load helpers

setup_file()
{
    ip addr add 10.77.0.1/24 dev xenbr0
    guest_new --mem 144 --vcpus 2 --net 10.77.0.2/24 --cfg 'pool="Pool-0"'
    until_true 60 answers
    snap create "$guest" name=gold
    gold_made
}

teardown_file()
{
    guest_end
    ip addr del 10.77.0.1/24 dev xenbr0
}

# Its kernel does: nobody listens there.
answers()
{
    timeout 2 bash -c ': </dev/tcp/10.77.0.2/9' 2>&1 |
        grep -q 'Connection refused'
}

# back: and it is the guest of "gold".
back()
{
    snap revert "$guest" name=gold "$@"
    assert_status 0
    assert_back_at_gold
    assert_monitored
}

# online N: so many vCPUs are.
online()
{
    [ "$(xl vcpu-list "$guest" | awk 'NR > 1 && $5 != "--p" { n++ } END { print n }')" = "$1" ]
}

# has_mib MIB
has_mib()
{
    [ "$(xl list "$guest" | awk 'NR == 2 { print $3 }')" = "$1" ]
}

@test "its network answers after a create and after a revert" {
    until_true 10 answers
    snapshot talking
    until_true 10 answers
    back
    until_true 20 answers
    reboots
    until_true 60 answers
}

# lacks MESSAGE: a revert is refused with that, and the guest runs on.
lacks()
{
    assert_status 4
    assert_says "the domain cannot be restored on this host as it is: its configuration has $1"
    assert_sound
}

@test "its bridge is gone: refused before the destroy" {
    ip link set xenbr0 down
    ip link set xenbr0 name elsewhere
    snap revert "$guest" name=gold
    ip link set elsewhere name xenbr0
    ip link set xenbr0 up
    lacks "a network interface on bridge 'xenbr0', there is none (--force tries it)"
}

@test "a script or its CPU pool is gone: refused before the destroy" {
    chmod a-x /etc/xen/scripts/vif-bridge
    snap revert "$guest" name=gold
    chmod a+x /etc/xen/scripts/vif-bridge
    lacks "the network script '/etc/xen/scripts/vif-bridge', Permission denied (--force tries it)"
    xl cpupool-rename Pool-0 elsewhere
    snap revert "$guest" name=gold
    xl cpupool-rename elsewhere Pool-0
    lacks "CPU pool 'Pool-0', there is none (--force tries it)"
    back
}

# bats test_tags=long
@test "xl console works after a revert" {
    local said=$BATS_TEST_TMPDIR/console

    back
    # The coprocess's input stays open: what xl console ends at.
    coproc script -qefc "xl console $guest" "$said" >/dev/null 3>&-
    until_true 20 grep -q 'ORACLE n=' "$said"
    kill "$COPROC_PID"
}

# As after "xl restore": it is told the host's.
@test "the clock of the guest is the host's after a revert, not the snapshot's" {
    local off

    back
    off=$(labguest wall "$guest" | awk -v now="$(date +%s)" \
        '{ off = $1 - now; print int(off < 0 ? -off : off) }')
    [ "$off" -le 5 ] || fail "the guest's clock is off by $off s"
}

# bats test_tags=long
@test "xl mem-set before and after" {
    xl mem-set "$guest" 120
    until_true 60 has_mib 120
    snapshot small
    back
    until_true 60 has_mib 144
    xl mem-set "$guest" 128
    until_true 60 has_mib 128
    snap revert "$guest" name=small
    assert_status 0
    until_true 60 has_mib 120
    xl mem-set "$guest" 144
    until_true 60 has_mib 144
    assert_scanned
    back
}

# bats test_tags=long
@test "vCPUs unplugged and plugged before and after" {
    xl vcpu-set "$guest" 1
    until_true 30 online 1
    snapshot single
    back
    until_true 30 online 2
    snap revert "$guest" name=single
    assert_status 0
    assert_sound
    until_true 30 online 1
    xl vcpu-set --ignore-host "$guest" 2
    until_true 30 online 2
    assert_scanned
}

# bats test_tags=long
@test "a disk attached since: told, gone with -f" {
    local extra=$disk_dir/c.qcow2

    labguest disk "$extra"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$extra"
    snap revert "$guest" name=gold
    assert_status 4
    assert_told "disk 'xvdc' was attached after the snapshot and would be gone"
    assert_sound
    back -f
    [ -z "$(xl block-list "$guest" | awk '$1 == 51744')" ]
    rm "$extra"
    assert_scanned
}

# bats test_tags=long
@test "a disk detached since: told, back with -f" {
    local extra=$disk_dir/c.qcow2

    labguest disk "$extra"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$extra"
    snapshot three
    xl block-detach "$guest" xvdc
    snap revert "$guest" name=three
    assert_status 4
    assert_told "disk 'xvdc' was detached after the snapshot and would be back"
    assert_sound
    snap revert -f "$guest" name=three
    assert_status 0
    [ "$(xl block-list "$guest" | awk '$1 == 51744' | wc -l)" = 1 ]
    assert_scanned
    xl block-detach "$guest" xvdc
    rm "$extra"
    back
}

@test "xl rename since: it is found by its uuid, and has the old name again" {
    xl rename "$guest" renamed
    snap revert "$snapshots/$guest/gold/snapshot.cfg"
    assert_status 0
    run ! xl domid renamed
    assert_back_at_gold
    assert_monitored
}

# bats test_tags=long
@test "xl rename before: the snapshot has the new name" {
    xl rename "$guest" renamed
    snap create renamed name=new
    assert_status 0
    [ -f "$snapshots/renamed/new/snapshot.cfg" ]
    xl rename renamed "$guest"
    snap revert renamed name=new
    assert_status 0
    run ! xl domid "$guest"
    # xenconsoled names its log as the domain was called at its start.
    guest=renamed assert_sound
    guest=renamed assert_monitored
    rm -r "$snapshots/renamed"
    back
    run ! xl domid renamed
}
