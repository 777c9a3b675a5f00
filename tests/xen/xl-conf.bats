#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What xl.conf says of the start of a domain, when memory is short: autoballoon,
# the lock that all xl share, domid_policy.

load helpers

conf=/etc/xen/xl.conf
lock=/run/lock/xl-conf-test

setup_file()
{
    guest_new --mem 160 --cfg 'on_watchdog="rename-restart"'
    snap create "$guest" name=gold
    gold_made
    cp -p "$conf" "$BATS_FILE_TMPDIR/xl.conf"
    export dom0_mib
    dom0_mib=$(xl list 0 | awk 'NR == 2 { print $3 }')
    # Only so it stands in xenstore.
    xl mem-set 0 "$dom0_mib"
}

teardown_file()
{
    cp -p "$BATS_FILE_TMPDIR/xl.conf" "$conf"
    destroyed filler
    xl mem-set 0 "$dom0_mib"
    guest_end
}

# The target of domain 0's balloon, in MiB.
dom0()
{
    echo $(($(xenstore-read /local/domain/0/memory/target) >> 10))
}

# xl_conf KEY=VALUE...: all that xl.conf says.
xl_conf()
{
    printf '%s\n' "$@" >"$conf"
}

# dom0_has MIB: not its target, what it really has.
dom0_has()
{
    [ "$(xl list 0 | awk 'NR == 2 { print $3 }')" -ge "$1" ]
}

# fill MIB: domain 0 as it was, and a domain that leaves about so much free.
fill()
{
    xl_conf autoballoon=0
    destroyed filler
    xl mem-set 0 "$dom0_mib"
    until_true 60 dom0_has "$dom0_mib"
    printf '%s\n' 'name = "filler"' 'type = "pv"' \
        'kernel = "/usr/local/lib/lab/vmlinux"' \
        "memory = $(($(xl info free_memory) - $1 - 6))" >/run/filler.cfg
    xl create -q -p /run/filler.cfg 3>&-
    until_true 30 xl domid filler
    [ "$(xl info free_memory)" -le $(($1 + 6)) ]
}

@test "a stopped domain, too little memory, autoballoon off: refused" {
    local sum

    guest_end
    fill 40
    sum=$(sha256sum "$disk_a" "$disk_b")
    for how in off 0; do
        xl_conf "autoballoon=\"$how\""
        snap revert "$guest" name=gold
        assert_status 4
        assert_told 'MiB are free (autoballoon, xl.conf(5), is off)'
        assert_nothing_pending
    done
    # Debian's own: auto, and this Xen was given dom0_mem.
    cp -p "$BATS_FILE_TMPDIR/xl.conf" "$conf"
    snap revert "$guest" name=gold
    assert_status 4
    [ "$sum" = "$(sha256sum "$disk_a" "$disk_b")" ]
    [ "$(dom0)" = "$dom0_mib" ]
}

# As xl; nothing that is down must stay down for it.
@test "an xl.conf that xl does not take: told with its line, and the default counts" {
    xl_conf 'autoballoon="on"' 'lockfile='
    snap revert "$guest" name=gold
    assert_status 4
    assert_told "$conf:2: syntax error"
    xl_conf 'autoballoon="maybe"'
    snap revert "$guest" name=gold
    assert_status 4
    assert_told "$conf: autoballoon 'maybe': must be auto, on or off; the default"
    xl_conf 'domid_policy="high"' 'autoballoon="off"'
    snap revert "$guest" name=gold
    assert_status 4
    assert_told "$conf: domid_policy 'high': must be xen or random; the default"
    assert_nothing_pending
}

# bats test_tags=long
@test "more than domain 0 can spare: refused, nothing done" {
    local most

    xl_conf 'autoballoon="on"'
    # What is in a tmpfs cannot be given up.
    most=$(awk '/^MemAvailable/ { print int($2 / 1024) - 150 }' /proc/meminfo)
    mount -t tmpfs -o "size=${most}m" tmpfs /mnt
    head -c "${most}M" /dev/zero >/mnt/full
    snap revert "$guest" name=gold
    umount /mnt
    assert_status 4
    assert_told 'and domain 0 can spare '
    assert_nothing_pending
    [ "$(dom0)" = "$dom0_mib" ]
}

# bats test_tags=long
@test "the lock of an xl that starts a domain: waited for, not for ever" {
    xl_conf 'autoballoon="on"' "lockfile=\"$lock\""
    python3 -c "
import fcntl, time
f = open('$lock', 'w')
fcntl.lockf(f, fcntl.LOCK_EX)
time.sleep(300)" 3>&- &
    holder=$!
    until_true 20 eval "! python3 -c \"
import fcntl
fcntl.lockf(open('$lock', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\" 2>/dev/null"
    snap revert "$guest" name=gold
    kill "$holder"
    assert_status 3
    assert_told "an xl is starting a domain, and has locked '$lock'; that is waited for"
    assert_told "process $holder has had the lock '$lock' for 60 s"
    assert_nothing_pending
    [ "$(dom0)" = "$dom0_mib" ]
}

@test "a lock that is no file is not waited for" {
    guest_end
    fill 40
    xl_conf 'autoballoon="on"' "lockfile=\"$lock\""
    rm -f "$lock"
    mkfifo "$lock"
    snap revert "$guest" name=gold
    rm "$lock"
    assert_status 4
    assert_says "cannot open xl's lock file '$lock'"
    ln -s /etc/passwd "$lock"
    snap revert "$guest" name=gold
    rm "$lock"
    assert_status 4
    assert_says "cannot open xl's lock file '$lock'"
    assert_nothing_pending
    [ "$(dom0)" = "$dom0_mib" ]
}

@test "it fails after that: domain 0 gets its memory back" {
    xl_conf 'autoballoon="on"' "lockfile=\"$lock\""
    XLSNAP_FAULT=memory:after run --separate-stderr \
        "$faulty" revert "$guest" name=gold
    assert_status 1
    assert_told 'domain 0 gives up 1'
    assert_told "fault after step 'memory'"
    assert_nothing_pending
    [ "$(dom0)" = "$dom0_mib" ]
    until_true 60 dom0_has "$dom0_mib"
}

# What it gave up is free then.
@test "killed after that: it had not begun; killed after the destroy: recover needs no xl.conf" {
    xl_conf 'autoballoon="on"' "lockfile=\"$lock\""
    XLSNAP_FAULT=memory:kill-after run "$faulty" revert "$guest" name=gold
    [ "$(dom0)" -lt "$dom0_mib" ]
    snap recover "$guest"
    assert_status 0
    [[ $output == *'had not begun'* ]]
    xl mem-set 0 "$dom0_mib"
    until_true 60 dom0_has "$dom0_mib"
    XLSNAP_FAULT=domain-restore:kill-before run "$faulty" revert "$guest" \
        name=gold
    guest_is_gone
    # And what was freed for it is gone again.
    xl mem-set 0 "$dom0_mib"
    until_true 60 dom0_has "$dom0_mib"
    xl_conf autoballoon=0
    snap recover "$guest"
    assert_status 5
    assert_told 'MiB are free (autoballoon, xl.conf(5), is off)'
    xl_conf 'autoballoon="on"' 'domid_policy="high"'
    snap recover "$guest"
    assert_status 0
    assert_told "$conf: domid_policy 'high'"
    assert_back_at_gold
    guest_end
    xl mem-set 0 "$dom0_mib"
    until_true 60 dom0_has "$dom0_mib"
}

@test "autoballoon on: domain 0 gives what is missing" {
    xl_conf 'autoballoon="on"' "lockfile=\"$lock\"" 'output_format="sxp"' \
        'domid_policy="random"'
    before=$(xl list | awk '$2 + 0 > max { max = $2 } END { print max + 0 }')
    snap revert -n "$guest" name=gold
    assert_status 0
    [[ $output == *'memory: as xl: lock, and shrink domain 0'* ]]
    [ "$(dom0)" = "$dom0_mib" ]
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    [ "$(dom0)" -lt "$dom0_mib" ]
    [ "$(dom0)" -gt $((dom0_mib - 160)) ]
    # Not one of the next; a random one is hardly so small.
    [ "$(domid)" -gt $((before + 50)) ]
    assert_monitored
    xl_conf 'autoballoon="off"'
    assert_scanned
}

# bats test_tags=long
@test "of a running domain that has been ballooned down, too" {
    xl_conf autoballoon=0
    xl mem-set "$guest" 112
    until_true 60 eval \
        "[ \"\$(xl list $guest | awk 'NR == 2 { print \$3 }')\" -le 112 ]"
    go_on
    snapshot small
    fill 16
    # It has as much as it had then: nothing is missing.
    snap revert "$guest" name=small
    assert_status 0
    go_on "$(newest)"
    snap revert "$guest" name=gold
    assert_status 4
    assert_told 'MiB are free (autoballoon'
    assert_sound
    xl_conf 'autoballoon="on"'
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    [ "$(dom0)" -lt "$dom0_mib" ]
    assert_scanned
}

# bats test_tags=long
@test "the monitor finds the memory for a domain beside the one that is kept" {
    local id kept

    fill 40
    xl_conf 'autoballoon="on"'
    id=$(domid)
    end_with 4 # a watchdog
    until_true 120 eval "! guest_is_gone && [ \"\$(domid)\" != $id ]"
    labguest ready "$guest" 180
    kept=$(xl domname "$id")
    [ "$kept" != "$guest" ]
    xl destroy "$id"
    assert_sound
    assert_monitored
    [ "$(dom0)" -lt "$dom0_mib" ]
}
