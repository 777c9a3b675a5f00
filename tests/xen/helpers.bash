# SPDX-License-Identifier: LGPL-2.1-or-later
# For the tests that run in the lab's dom0, on a real Xen (see docs/hacking.md).
# shellcheck shell=bash
#
# A file of tests has one guest of its own, named after the file, on two
# qcow2 disks, made by guest_new in setup_file. The guest is an oracle
# (tests/lab/oracle): it writes all the while and checks itself.

bats_require_minimum_version 1.5.0

# What xl leaves behind, QEMU and the monitor, must not hold bats' descriptor.
labguest()
{
    command labguest "$@" 3>&-
}

snapshots=/var/lib/xen/snapshots
pending=/var/lib/xen/xl-snapshot/pending
# Built with fault points; see "make check-xen".
faulty=/usr/local/lib/xl-snapshot-tests/xl-snapshot

# Everything of a failed assertion that helps to see why; at first $context, which
# a loop sets. Never "assertion || fail context": a function that is called so goes
# on after its first failure.
fail()
{
    printf '%s\n' ${context+"$context:"} "$@" >&2
    # shellcheck disable=SC2154
    printf 'status %s, output:\n%s\n%s\n' "${status-}" "${output-}" \
        "${stderr-}" >&2
    xl list >&2
    return 1
}

# guest_new [labguest options]: the guest of this file, fresh, on fresh disks.
guest_new()
{
    export guest disk_a disk_b disk_dir
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    disk_a=$disk_dir/a.qcow2
    disk_b=$disk_dir/b.qcow2
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$disk_dir"
    labguest disk "$disk_a"
    labguest disk "$disk_b"
    labguest cfg "$guest" --mem 112 "$@" \
        --disk "$disk_a,qcow2,xvda,w" --disk "$disk_b,qcow2,xvdb,w"
    labguest start "$guest"
}

# Ends the guest whatever state it is in.
guest_end()
{
    # By domid: xl takes a name of digits for one.
    xl destroy "$(xl domid "$guest" 2>/dev/null)" 2>/dev/null || true
    until_true 20 guest_is_gone
    assert_images_whole
}

# LVM's programs complain of bats' descriptors.
lv()
{
    "$@" 3>&- 4>&-
}

# Nothing that these tests have done may have harmed the volume group $vg.
assert_vg_whole()
{
    local ill

    ill=$(lv lvs --noheadings -o lv_name,lv_health_status,lv_check_needed \
        -S 'lv_health_status!="" || lv_check_needed=1' "$vg")
    [ -z "$ill" ] || fail "volumes are ill: $ill"
    assert_not_suspended
}

# No volume is suspended.
assert_not_suspended()
{
    ! dmsetup info -c --noheadings -o name,suspended | grep -i ':Suspended' ||
        fail "a device is left suspended"
}

# It has shut down, for whatever reason, a suspend included.
guest_shut_down()
{
    [ "$(xl list "$guest" | awk 'NR == 2 { print substr($5, 4, 1) }')" = s ]
}

guest_crashed()
{
    [ "$(xl list "$guest" | awk 'NR == 2 { print substr($5, 5, 1) }')" = c ]
}

guest_paused()
{
    [ "$(xl list "$guest" | awk 'NR == 2 { print substr($5, 3, 1) }')" = p ]
}

# What a guest has left behind: no qcow2 image is damaged or has leaks, whatever
# it is called.
assert_images_whole()
{
    local image

    while read -r image; do
        [ "$(head -c 4 "$image" | od -An -tx1 | tr -d ' ')" = 514649fb ] ||
            continue
        qemu-img check -q "$image" >&2 ||
            fail "qemu-img check $image: status $?"
    done < <(find "${disk_dir:-/nowhere}" -type f 2>/dev/null)
}

# guest_fresh: running, nothing pending, no snapshots: for tests that break
# things. Starts it again only if it must.
guest_fresh()
{
    rm -rf "${snapshots:?}/$guest" "${pending:?}"/*.json
    if ! labguest check "$guest" >/dev/null 2>&1 || [ "$(snapshot_tags)" ] ||
        ! monitor_count 1; then
        guest_end
        rm -rf "${disk_dir:?}"/*
        labguest disk "$disk_a"
        labguest disk "$disk_b"
        labguest start "$guest"
    fi
}

# destroyed NAME: if there is such a domain, it is gone then.
destroyed()
{
    ! xl domid "$1" >/dev/null 2>&1 || xl destroy "$1"
}

# end_with REASON: as if the guest had said so (xen/include/public/sched.h).
end_with()
{
    PYTHONPATH=/usr/lib/xen-4.17/lib/python python3 -c \
        "from xen.lowlevel import xc; xc.xc().domain_shutdown($(domid), $1)"
}

guest_is_gone()
{
    ! xl domid "$guest" >/dev/null 2>&1
}

# until_true SECONDS COMMAND...
until_true()
{
    local end=$((SECONDS + $1))

    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

# The oracle goes on, and has found nothing.
assert_sound()
{
    local said

    said=$(labguest check "$guest" 2>&1) || fail "the oracle: $said"
}

# As assert_sound, after a full scan of all that was ever written.
assert_scanned()
{
    assert_sound
    labguest scan "$guest" 600 >/dev/null ||
        fail "the oracle's scan: $(labguest check "$guest" 2>&1)"
}

# snap ARGS...: xl snapshot-..., stdout in $output, stderr in $stderr.
snap()
{
    # For assert_back_at.
    case $1 in revert | recover) labguest mark "$guest" ;; esac
    run --separate-stderr xl "snapshot-$1" "${@:2}"
}

# program NAME: a fake that stands before the real one; its body from stdin.
program()
{
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    { echo '#!/bin/bash'; cat; } >"$BATS_TEST_TMPDIR/bin/$1"
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

snap_with_fakes()
{
    run --separate-stderr env "PATH=$BATS_TEST_TMPDIR/bin:$PATH" \
        xl-snapshot "$@"
}

# The stopped ones of a command's processes: $stopped.
stands_still()
{
    mapfile -t stopped < <(pgrep -r T -f "^$faulty ")
    [ "${#stopped[@]}" -gt 0 ]
}

# snap_before STEP CHANGE ARGS...: it is stopped there, and goes on after the CHANGE.
snap_before()
{
    local running

    XLSNAP_FAULT="$1:stop-before" timeout -k 10 400 "$faulty" "${@:3}" \
        >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
    running=$!
    until_true 120 stands_still || fail "it does not stop"
    "$2"
    kill -CONT "${stopped[@]}"
    status=0
    wait "$running" || status=$?
    # shellcheck disable=SC2034  # run's, for whoever looks
    output=$(cat "$BATS_TEST_TMPDIR/out") stderr=$(cat "$BATS_TEST_TMPDIR/err")
}

# snap_without privcmd|hypercall ARGS...: that device of Xen's gives no answers.
snap_without()
{
    # shellcheck disable=SC2016  # for the other shell
    run --separate-stderr unshare -m sh -c \
        'mount --bind /dev/null "/dev/xen/$0" && exec xl-snapshot "$@"' "$@"
}

# create_fails_while COMMAND...: for it changes the domain, once, before the first
# overlay is made. -f, for there may be internal snapshots.
create_fails_while()
{
    program qemu-img <<END
if [ "\$1" = create ] && mkdir "$BATS_TEST_TMPDIR/done" 2>/dev/null; then
    $* >&2
fi
exec /usr/bin/qemu-img "\$@"
END
    snap_with_fakes create -f "$guest" name=try --external
    assert_status 1
    assert_says "memory, vCPUs or devices of domain '$guest' were changed meanwhile"
    assert_sound
    assert_no_trace try
    assert_monitored
}

# snap_while_open FILE ARGS...: while this process has the file open for writing.
snap_while_open()
{
    local fd

    exec {fd}<>"$1"
    snap "${@:2}"
    exec {fd}<&-
}

# snap_while_looped FILE ARGS...: while a loop device, $loop, is on the file.
snap_while_looped()
{
    loop=$(losetup -f --show "$1")
    snap "${@:2}"
    losetup -d "$loop"
}

assert_status()
{
    # shellcheck disable=SC2154
    [ "$status" -eq "$1" ] || fail "exit status is not $1"
}

# The last line of stderr contains the text: ours, libxl's come before.
assert_says()
{
    # shellcheck disable=SC2154
    case $(tail -n 1 <<<"$stderr") in
    *"$1"*) ;;
    *) fail "the message lacks: $1" ;;
    esac
}

# Some line of stderr matches the pattern.
assert_told()
{
    # shellcheck disable=SC2053
    [[ $stderr == *$1* ]] || fail "this was not told: $1"
}

assert_nothing_pending()
{
    [ -z "$(ls "$pending" 2>/dev/null)" ] || fail "a record is left"
}

# The tags of both disks, a line each; asked of the images themselves.
snapshot_tags()
{
    local disk

    for disk in "$disk_a" "$disk_b"; do
        qemu-img info -U --output=json "$disk" |
            jq -r '.snapshots // [] | .[].name'
    done
}

# assert_tags TAG...: both disks have exactly these.
assert_tags()
{
    local want

    want=$(printf '%s\n' "$@" "$@" | sort)
    [ "$(snapshot_tags | sort)" = "$want" ] ||
        fail "tags are not '$*' but: $(snapshot_tags | tr '\n' ' ')"
}

assert_no_tag()
{
    ! snapshot_tags | grep -qxF "$1" || fail "tag $1 is there"
}

# No trace of snapshot NAME: no file, tag or record.
assert_no_trace()
{
    [ ! -e "$snapshots/$guest/$1" ] || fail "$snapshots/$guest/$1 is left"
    assert_no_tag "$1"
    assert_nothing_pending
}

domid()
{
    xl domid "$guest"
}

# The monitors that watch the domain now, xl's and ours: their pids.
monitor_pids()
{
    local id pid

    id=$(domid)
    for pid in $(pidof xl xl-snapshot); do
        [ -f "/proc/$pid/fd/1" ] || continue
        ! grep -q "(domid $id) to die \[pid $pid\]" "/proc/$pid/fd/1" ||
            echo "$pid"
    done
}

monitors()
{
    monitor_pids | wc -l
}

monitor_count()
{
    [ "$(monitors)" = "$1" ]
}

assert_monitored()
{
    until_true 15 monitor_count 1 || fail "$(monitors) monitors watch it"
}

# The control groups are there.
control_groups()
{
    mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
}

# in_group GROUP COMMAND...
in_group()
{
    # shellcheck disable=SC2016
    bash -c 'echo 0 >/sys/fs/cgroup/$0/cgroup.procs && exec "$@"' "$@"
}

group_of()
{
    sed -n 's/^0:://p' "/proc/$1/cgroup"
}

guards()
{
    pgrep -f "^xl-snapshot guard $guest "
}

no_guard()
{
    ! guards >/dev/null
}

# snapshot NAME: one that must work.
snapshot()
{
    snap create "$guest" "name=$1" "${@:2}"
    assert_status 0
}

# live_is_shorter NAME-STILL NAME-LIVE [CREATE ARGUMENT...]: two snapshots, the second
# one live; the guest sees itself stand still for less.
live_is_shorter()
{
    local still live

    labguest mark "$guest"
    snapshot "$1"
    [[ $stderr != *'rounds of pre-copy'* ]]
    assert_sound
    still=$(labguest gap "$guest" susp)
    labguest mark "$guest"
    snapshot "$2" --live "${@:3}"
    assert_told '; rounds of pre-copy: [1-6]'
    gold_made
    assert_sound
    live=$(labguest gap "$guest" susp)
    printf '# stood still, as the guest saw it: %s ms, live %s ms\n' \
        "$still" "$live" >&3
    [ "$live" -lt "$still" ]
}

newest()
{
    labguest now "$guest"
}

# assert_not_back NUMBER: a guest that was started again, or restored, has all
# that it had written.
assert_not_back()
{
    [ "$(newest)" -ge "$1" ] || fail "$(newest) is less than $1"
}

# saves_and_restores: as xl does it; the guest has all that it had written.
saves_and_restores()
{
    local number

    number=$(newest)
    xl save "$guest" /var/lib/guests/save.img
    xl restore /var/lib/guests/save.img 3>&-
    rm /var/lib/guests/save.img
    labguest ready "$guest" 180
    assert_scanned
    assert_not_back "$number"
}

# reboots: the guest reboots itself, and has all that it had written.
reboots()
{
    local id number

    id=$(domid)
    number=$(newest)
    labguest tell "$guest" reboot
    until_true 180 eval "! guest_is_gone && [ \"\$(domid)\" != $id ]"
    labguest ready "$guest" 180
    assert_sound
    assert_not_back "$number"
    assert_monitored
}

# restarts: by "xl shutdown" and "xl create" with the unchanged config.
restarts()
{
    local number

    number=$(newest)
    xl shutdown -w "$guest"
    until_true 180 guest_is_gone
    labguest start "$guest"
    assert_scanned
    assert_not_back "$number"
}

# The names that the guest's files which QEMU has open have now, a line each.
# Those that /proc tells are the ones by which they were opened.
open_in_qemu()
{
    local qemu fd

    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    find "/proc/$qemu/fd" -lname "$disk_dir/*" | while read -r fd; do
        find "$disk_dir" -inum "$(stat -L -c %i "$fd")" -printf '%f\n'
    done | sort
}

# assert_open NAME...: of the guest's files QEMU has these open, and no others.
assert_open()
{
    local open want

    open=$(open_in_qemu | xargs)
    want=$(printf '%s\n' "$@" | sort | xargs)
    [ "$open" = "$want" ] || fail "QEMU has these open: $open"
}

# Each disk that QEMU serves has its name, and that is of the file which QEMU has
# open: otherwise a guest that goes on may write where nobody looks for it.
assert_names_served()
{
    local qemu open backend vdev file n=0

    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    open=$(stat -L -c %d:%i "/proc/$qemu/fd"/* 2>/dev/null || true)
    backend=/local/domain/0/backend/qdisk/$(domid)
    for vdev in $(xenstore-list "$backend" | sed "s,.*,$backend/&/dev," |
        xargs xenstore-read); do
        file=$(xl list -l "$guest" | jq -r --arg vdev "$vdev" \
            '.[0].config.disks[] | select(.vdev == $vdev).pdev_path')
        grep -qxF "$(stat -L -c %d:%i "$file")" <<<"$open" ||
            fail "QEMU does not have $file open"
        n=$((n + 1))
    done
    [ "$n" -gt 0 ] || fail "no disk of $guest is QEMU's"
}

# gold_made: a snapshot "gold" has just been made. What a revert to it shows:
# the guest's number goes back to what it was then.
gold_made()
{
    [ "$status" -eq 0 ] || fail "gold"
    gold_number=$(newest)
    export gold_number
}

# go_on [NUMBER]: until the guest is clearly beyond it ("gold").
go_on()
{
    labguest wait "$guest" $((${1-$gold_number} + 12)) 600 >/dev/null
}

# assert_back_at NUMBER [EARLIER]: the last revert has taken the guest back to it,
# and not to an EARLIER one; once.
assert_back_at()
{
    local low

    low=$(labguest lowest "$guest") || fail "no sign of life"
    [ "$low" -le $(($1 + 6)) ] || fail "number $low is not back at $1"
    [ "$low" -ge "${2-0}" ] || fail "number $low is back beyond $1, at $2"
    labguest mark "$guest"
    assert_sound
}

assert_back_at_gold()
{
    assert_back_at "$gold_number"
}

# assert_up_at NUMBER EARLIER: the same after a revert to a later snapshot than the
# guest was at, which was EARLIER.
assert_up_at()
{
    local low

    labguest mark "$guest"
    labguest wait "$guest" "$1" 60 >/dev/null || fail "it is not up at $1"
    low=$(labguest lowest "$guest") || fail "no sign of life"
    [ "$low" -ge "$2" ] || fail "number $low is not up at $1"
    assert_sound
}

# To gold; and the new domain has a monitor.
reverts_when_not_running()
{
    guest_end
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_monitored
}
