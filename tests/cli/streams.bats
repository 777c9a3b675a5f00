#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Closed, full and broken descriptors; signals.

load helpers

teardown()
{
    # Its worker, too, which is stuck at the same pipe.
    [ -z "${pid-}" ] || pkill -KILL -P "$pid" || true
    [ -z "${pid-}" ] || kill -KILL "$pid" 2>/dev/null || true
}

@test "stdout is closed" {
    run --separate-stderr bash -c '"$1" help >&-' - "$xl_snapshot"
    [ "$status" -eq 0 ] || fail
    [ -z "$stderr" ] || fail
    run --separate-stderr bash -c '"$1" create web1 >&-' - "$xl_snapshot"
    no_xen
}

@test "all is closed" {
    run bash -c '"$1" create x.cfg <&- >&- 2>&-' - "$xl_snapshot"
    [ "$status" -eq 2 ] || fail
    run bash -c '"$1" create web1 <&- >&- 2>&-' - "$xl_snapshot"
    [ "$status" -eq 4 ] || fail
    run bash -c '"$1" help <&- >&- 2>&-' - "$xl_snapshot"
    [ "$status" -eq 0 ] || fail
}

@test "stdout is full: what was only to be printed has failed" {
    for words in help 'help create' 'create --help' version; do
        run --separate-stderr bash -c '"$1" $2 >/dev/full' - "$xl_snapshot" \
            "$words"
        refused 1 "cannot write to stdout: No space left on device"
    done
}

@test "stdout is full: an error stays what it was" {
    run --separate-stderr bash -c '"$1" create --json x.cfg >/dev/full' - \
        "$xl_snapshot"
    [ "$status" -eq 2 ] || fail
    [ "$stderr" = "xl-snapshot: cannot read 'x.cfg': No such file or directory
xl-snapshot: cannot write to stdout: No space left on device" ] || fail
}

@test "stderr is full" {
    run bash -c '"$1" create web1 2>/dev/full' - "$xl_snapshot"
    [ "$status" -eq 4 ] || fail
    run bash -c '"$1" create x.cfg 2>/dev/full' - "$xl_snapshot"
    [ "$status" -eq 2 ] || fail
}

@test "a reader who goes away is not told about it" {
    run bash -c '(sleep 0.1; exec "$1" help) | true' - "$xl_snapshot"
    [ "$status" -eq 0 ] || fail
    [ -z "$output" ] || fail
}

# blocked COMMAND...: in the background, stuck at writing its output, as $pid.
blocked()
{
    mkfifo pipe
    exec 9<>pipe
    # full
    dd if=/dev/zero of=pipe bs=4096 oflag=nonblock status=none 2>/dev/null ||
        true
    # bash has some of them ignored in the background
    env --default-signal "$@" >&9 3>&- &
    pid=$!
    disown
    sleep 0.3
    kill -0 "$pid"
}

# signals SigCgt|SigIgn: which of ours $pid has caught or ignored
signals()
{
    local mask name

    mask=0x$(sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status")
    for name in HUP INT QUIT PIPE TERM; do
        [ $((mask >> ($(kill -l "$name") - 1) & 1)) -eq 0 ] || echo "$name"
    done
}

@test "signals that ask it to stop are noted, not obeyed blindly" {
    blocked "$xl_snapshot" create --json web1
    [ "$(signals SigCgt | xargs)" = 'HUP INT QUIT TERM' ]
    [ "$(signals SigIgn | xargs)" = PIPE ]
}

@test "signals that its caller ignores stay ignored, as under nohup" {
    blocked bash -c 'trap "" HUP INT; exec "$1" create --json web1' - "$xl_snapshot"
    [ "$(signals SigCgt | xargs)" = 'QUIT TERM' ]
    [ "$(signals SigIgn | xargs)" = 'HUP INT PIPE' ]
}
