#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Monitors of which no log tells whose they are: in the foreground, or with a log
# that was cut; and those that are the main process of a systemd unit.

load helpers

setup_file()
{
    guest_new
}

teardown_file()
{
    destroyed other
    guest_end
}

# in_foreground CONFIG [OPTION...]: xl stays there; as from a terminal, it has no log.
in_foreground()
{
    xl create -F "${@:2}" "$1" >/dev/null 2>&1 3>&- &
}

@test "of xl create -F: ours takes its place" {
    guest_end
    in_foreground "/etc/xen/$guest.cfg"
    foreground=$!
    labguest ready "$guest" 60
    monitor_count 0
    snap create -n "$guest" name=dry
    assert_status 0
    kill -0 "$foreground"
    snap create "$guest" name=gold
    assert_status 0
    assert_told 'was in the foreground, or its log was cut'
    run ! kill -0 "$foreground"
    assert_monitored
    reboots
    snapshot again
    assert_monitored
}

# bats test_tags=long
@test "killed, with its guard, while it ends: recover starts one" {
    guest_end
    in_foreground "/etc/xen/$guest.cfg"
    labguest ready "$guest" 60
    XLSNAP_FAULT=disk-create:killall-before run "$faulty" create "$guest" \
        name=died
    [ "$status" -ne 0 ]
    snap recover "$guest"
    assert_status 0
    assert_sound
    assert_monitored
}

# bats test_tags=long
@test "one whose log was cut" {
    guest_end
    labguest start "$guest"
    assert_monitored
    truncate -s 0 "/var/log/xen/xl-$guest.log"
    monitor_count 0
    snapshot cut
    assert_monitored
    reboots
}

# bats test_tags=long
@test "a domain that has none gets none, though another's is in the foreground" {
    local foreground

    printf '%s\n' 'name = "other"' 'type = "pv"' 'memory = 112' \
        'kernel = "/usr/local/lib/lab/vmlinux"' >/run/other.cfg
    in_foreground /run/other.cfg -p
    foreground=$!
    until_true 30 xl domid other
    guest_end
    xl create -q -e "/etc/xen/$guest.cfg" 3>&-
    labguest ready "$guest" 60
    until_true 15 monitor_count 0
    snapshot none
    monitor_count 0
    kill -0 "$foreground"
    xl destroy other
    assert_sound
}

# One that was not asked to suspend keeps the monitor that it has.
# bats test_tags=long
@test "killed, with its guard, before it is asked to suspend: recover starts none" {
    guest_end
    in_foreground "/etc/xen/$guest.cfg"
    foreground=$!
    labguest ready "$guest" 60
    XLSNAP_FAULT=guard:killall-after run "$faulty" create "$guest" name=died
    [ "$status" -ne 0 ]
    snap recover "$guest"
    assert_status 0
    kill -0 "$foreground"
    run ! pgrep -f "^xl-snapshot monitor $guest "
    assert_sound
}

# It may be dumping its memory, and start it again then.
# bats test_tags=long
@test "a domain that has ended while such a monitor lives is not reverted" {
    guest_end
    in_foreground "/etc/xen/$guest.cfg"
    foreground=$!
    labguest ready "$guest" 60
    snapshot back
    guest_end
    in_foreground "/etc/xen/$guest.cfg"
    foreground=$!
    labguest ready "$guest" 60
    kill -STOP "$foreground"
    end_with 3
    until_true 20 guest_crashed
    snap revert "$guest" name=back
    assert_status 4
    assert_told "has ended, and process $foreground, an xl that has no log, may be its monitor"
    kill -CONT "$foreground"
    until_true 20 guest_is_gone
    snap revert "$guest" name=back
    assert_status 0
    assert_sound
    assert_monitored
}

# Its disks are about to be opened again.
# bats test_tags=long
@test "a domain that such a monitor is about to start again is not reverted" {
    local conf=/etc/xen/xl.conf lock=/run/lock/monitor-unknown-test

    guest_end
    labguest start "$guest"
    snapshot gap
    guest_end
    # So it waits for the lock before it starts it again.
    cp -p "$conf" "$BATS_TEST_TMPDIR/xl.conf"
    printf '%s\n' 'autoballoon="on"' "lockfile=\"$lock\"" >"$conf"
    in_foreground "/etc/xen/$guest.cfg"
    foreground=$!
    until_true 60 xl domid "$guest"
    cp -p "$BATS_TEST_TMPDIR/xl.conf" "$conf"
    labguest ready "$guest" 60
    python3 -c "import fcntl, time
f = open('$lock', 'w')
fcntl.lockf(f, fcntl.LOCK_EX)
time.sleep(600)" 3>&- &
    holder=$!
    until_true 10 eval "! python3 -c \"import fcntl
fcntl.lockf(open('$lock', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\" 2>/dev/null"
    end_with 1
    until_true 60 guest_is_gone
    snap revert "$guest" name=gap
    assert_status 4
    assert_told "domain '$guest' does not run, but process $foreground, an 'xl create' of its name, does"
    kill "$holder"
    labguest ready "$guest" 180
    assert_sound
    snap revert "$guest" name=gap
    assert_status 0
    assert_sound
    assert_monitored
}

# systemctl_says PROPERTY=VALUE...: of the unit of the guest's monitor; those that
# are asked for.
systemctl_says()
{
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/says"
    cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<EOF
#!/bin/sh
[ "\$1 \$2 \$4 \$5" = "show -p -- web.service" ] || exit 1
echo "\$3" | tr , '\n' | while read -r property; do
    grep "^\$property=" "$BATS_TEST_TMPDIR/says"
done
exit 0
EOF
    chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
}

# bats test_tags=long
@test "the main process of a unit, with which systemd would end QEMU: refused" {
    local group=/sys/fs/cgroup qemu says

    control_groups
    mkdir "$group/web.service"
    guest_end
    in_group web.service labguest start "$guest" 3>&-
    assert_monitored
    systemctl_says "MainPID=$(monitor_pids)" RemainAfterExit=yes \
        KillMode=control-group Restart=no
    snap_with_fakes create "$guest" name=unit
    assert_status 0
    assert_monitored
    [ "$(group_of "$(monitor_pids)")" = /web.service ]
    guest_end
    until_true 15 rmdir "$group/web.service"
    mkdir "$group/web.service"
    in_group web.service labguest start "$guest" 3>&-
    assert_monitored
    for says in KillMode=control-group \
        'KillMode=process ExecStop={...}' \
        'KillMode=process ExecStop= ExecStopPost={...}' \
        'KillMode=process Restart=always'; do
        # shellcheck disable=SC2086
        systemctl_says "MainPID=$(monitor_pids)" RemainAfterExit=no $says
        snap_with_fakes create "$guest" name=unit2
        assert_status 4
        assert_told 'is the main process of web.service: it ends when the domain suspends'
        assert_told "RemainAfterExit=yes ('systemctl edit web.service')"
        snap_with_fakes revert "$guest" name=unit
        assert_status 4
        assert_told 'it ends when the domain is destroyed'
    done
    assert_no_trace unit2
    assert_sound
    # Nothing happens to the domain.
    systemctl_says "MainPID=$(monitor_pids)" RemainAfterExit=no \
        KillMode=process Restart=on-failure ExecStop=
    snap_with_fakes revert "$guest" name=unit
    assert_status 0
    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    [ "$(group_of "$qemu")" = /web.service ]
    assert_sound
    guest_end
    until_true 15 rmdir "$group/web.service"
}

# bats test_tags=long
@test "the child of a script that is the main process: refused, too" {
    local group=/sys/fs/cgroup

    control_groups
    mkdir "$group/web.service"
    guest_end
    cat >"$BATS_TEST_TMPDIR/run-guest" <<EOF
#!/bin/sh
xl create -F /etc/xen/$guest.cfg
exit 0
EOF
    chmod +x "$BATS_TEST_TMPDIR/run-guest"
    in_group web.service "$BATS_TEST_TMPDIR/run-guest" >/dev/null 2>&1 3>&- &
    script=$!
    labguest ready "$guest" 60
    systemctl_says "MainPID=$script" RemainAfterExit=no KillMode=control-group
    snap_with_fakes create "$guest" name=unit2
    assert_status 4
    assert_told 'is the main process of web.service'
    # Another process.
    systemctl_says "MainPID=$(pidof -s xenconsoled)" RemainAfterExit=no \
        KillMode=control-group
    snap_with_fakes create -n "$guest" name=unit2
    assert_status 0
    assert_sound
    guest_end
    until_true 15 rmdir "$group/web.service"
}
