#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# A create that is cut off: by signals, by kill -9, by a full disk. The guest
# must run on, and recover must bring things to exactly before or after.

load helpers
load fresh

teardown()
{
    local dir

    for dir in "$BATS_TEST_TMPDIR/full" "$pending"; do
        ! mountpoint -q "$dir" || umount -l "$dir"
    done
}

image_being_written()
{
    compgen -G "$snapshots/$guest/$1/memory.save.new-*" >/dev/null
}

# start_create NAME: in the background, back when the guest stands still.
start_create()
{
    xl snapshot-create "$guest" "name=$1" 2>"$BATS_TEST_TMPDIR/err" \
        >"$BATS_TEST_TMPDIR/out" 3>&- &
    creator=$!
    until_true 30 guest_shut_down
    image_being_written "$1"
}

end_create()
{
    status=0
    wait "$creator" || status=$?
    stderr=$(cat "$BATS_TEST_TMPDIR/err")
}

# The process that does the work; $creator is the one the shell knows.
worker()
{
    pgrep -P "$creator"
}

no_create()
{
    ! pgrep -f "^xl-snapshot (snapshot-)?create $guest " >/dev/null
}

kill_tool()
{
    # The first must not see the death of the other.
    kill -STOP "$creator"
    kill -KILL "$(worker)" "$creator"
    end_create
    assert_status 137
}

@test "a terminated create resumes the guest and leaves no trace" {
    start_create cut
    kill -TERM "$creator"
    end_create
    assert_status 1
    assert_says "cancelled"
    assert_sound
    assert_no_trace cut
    assert_monitored
    no_guard
}

@test "Ctrl-C reaches the whole process group and still leaves no trace" {
    # A shell's & ignores SIGINT; setsid makes it a group of its own.
    env --default-signal=INT setsid xl snapshot-create "$guest" name=cut \
        2>"$BATS_TEST_TMPDIR/err" >/dev/null 3>&- &
    creator=$!
    until_true 30 guest_shut_down
    kill -INT -- "-$creator"
    end_create
    assert_status 1
    assert_sound
    assert_no_trace cut
    assert_monitored
}

@test "the terminal is closed: the guest runs, and no trace is left" {
    local terminal

    script -qefc "xl snapshot-create $guest name=cut" /dev/null \
        >/dev/null 2>&1 </dev/null 3>&- &
    terminal=$!
    until_true 60 guest_shut_down
    image_being_written cut
    kill -KILL "$terminal"
    status=0
    wait "$terminal" || status=$?
    assert_status 137
    until_true 60 no_create
    until_true 60 no_guard
    assert_sound
    assert_no_trace cut
    assert_monitored
}

@test "after kill -9 in the pause the guard resumes the guest" {
    start_create cut
    kill_tool
    assert_sound
    until_true 30 no_guard
    assert_monitored
}

@test "kill -9 of the worker alone: exit 5, the cure is named" {
    start_create cut
    kill -KILL "$(worker)"
    end_create
    assert_status 5
    # The guard may have spoken after it.
    [[ $stderr == *"killed by signal 9"*"run 'xl snapshot-recover'"* ]]
    assert_sound
    until_true 30 no_guard
    # A domain that it cannot see is not gone.
    snap_without hypercall recover
    assert_status 5
    assert_says "libxl cannot list the domains"
    snap_without hypercall recover "$(domid)"
    assert_status 1
    assert_says "libxl cannot list the domains"
    image_being_written cut
    snap recover
    assert_status 0
    assert_no_trace cut
    assert_monitored
}

# bats test_tags=long
@test "kill -9 of the process at the terminal alone: the worker cancels" {
    local worker

    start_create cut
    worker=$(worker)
    kill -KILL "$creator"
    end_create
    assert_status 137
    until_true 30 eval "! kill -0 $worker 2>/dev/null"
    assert_sound
    assert_no_trace cut
    assert_monitored
}

@test "Ctrl-Z stops the process at the terminal, not the work" {
    start_create held
    kill -STOP "$creator"
    until_true 30 eval "[ -f $snapshots/$guest/held/snapshot.cfg ]"
    assert_sound
    kill -CONT "$creator"
    end_create
    assert_status 0
}

# bats test_tags=long
@test "after kill -9 every changing command refuses and names the cure" {
    start_create cut
    kill_tool
    until_true 60 no_guard
    snap create "$guest" name=next
    assert_status 4
    assert_says "run 'xl snapshot-recover $guest' first"
}

@test "recover after kill -9 brings things to exactly before" {
    start_create cut
    kill_tool
    until_true 60 no_guard
    snap recover "$guest"
    assert_status 0
    [ "$output" = "the unfinished snapshot 'cut' of domain '$guest' was removed" ]
    assert_sound
    assert_no_trace cut
    snap recover "$guest"
    assert_status 0
    [ "$output" = "nothing pending" ]
}

@test "with the guard killed, too, recover resumes the guest" {
    start_create cut
    kill -KILL "$(guards)" "$(worker)" "$creator"
    end_create
    guest_shut_down
    snap recover
    assert_status 0
    assert_sound
    assert_no_trace cut
    assert_monitored
}

@test "when libxl's save helper is killed the guest runs and create fails" {
    start_create cut
    pkill -KILL -f libxl-save-helper
    end_create
    assert_status 1
    assert_sound
    assert_no_trace cut
}

# The directory of the memory image has room for $percent of one, from now on.
room_shrinks()
{
    mount -o "remount,size=$((bytes * percent / 100 + 4096))" "$full"
}

@test "space runs out at 0, 50 and 99 percent of the memory image: exit 1, no trace" {
    local full=$BATS_TEST_TMPDIR/full bytes percent

    snapshot whole
    bytes=$(du -B1 "$snapshots/$guest/whole/memory.save" | cut -f 1)
    mkdir -p "$full"
    mount -t tmpfs -o size=200M,mode=700 none "$full"
    for percent in 0 50 99; do
        snap_before memory-save room_shrinks create "$guest" name=cut "path=$full"
        mount -o remount,size=200M "$full"
        assert_status 1
        assert_says "No space left on device"
        [ -z "$(ls -A "$full")" ]
        assert_sound
        assert_no_trace cut
    done
    umount "$full"
}

# bats test_tags=long
@test "a closed stdout does not harm the snapshot" {
    run xl snapshot-create -q "$guest" name=closed >&-
    assert_status 0
    [ -f "$snapshots/$guest/closed/snapshot.cfg" ]
    assert_sound
}

@test "a guest that was destroyed in the pause: exit 1, no trace" {
    start_create cut
    xl destroy "$guest"
    end_create
    assert_status 1
    assert_no_trace cut
}

# bats test_tags=long
@test "the guest ends after a revert that had not begun: nothing is given up" {
    local number

    snapshot back
    # With another uuid than the snapshot's, as xl create gives it.
    guest_end
    labguest start "$guest"
    run env XLSNAP_FAULT=no-return:kill-after "$faulty" revert "$guest" name=back
    assert_status 5
    until_true 60 no_guard
    number=$(newest)
    go_on "$number"
    labguest tell "$guest" poweroff
    until_true 60 guest_is_gone
    snap recover "$guest"
    assert_status 0
    [[ $output == *"had not begun; nothing was changed" ]]
    guest_is_gone
    labguest start "$guest"
    assert_scanned
    assert_not_back $((number + 12))
}

# bats test_tags=long
@test "a restored guest goes on though there is no space to note it" {
    local step

    snapshot full
    for step in domain-destroy domain-restore; do
        mount -t tmpfs -o size=64k,mode=700 none "$pending"
        run --separate-stderr env "XLSNAP_FAULT=$step:kill-after" \
            "$faulty" revert "$guest" name=full
        assert_status 5
        [ $step = domain-destroy ] || guest_paused
        # It has its space in the spare file.
        rm "$pending"/*.spare
        run ! dd if=/dev/zero "of=$pending/filler" bs=4k
        snap recover "$guest"
        assert_status 0
        assert_told "No space left on device; the record goes, for the guest runs"
        [ "$output" = "domain '$guest' is back at snapshot 'full'" ]
        [ "$(ls "$pending")" = filler ]
        umount "$pending"
        assert_scanned
        assert_monitored
        assert_nothing_pending
    done
}

# bats test_tags=long
@test "a revert that was done but for its end is not done again" {
    local number

    snapshot back
    run --separate-stderr env XLSNAP_FAULT=domain-unpause:kill-after \
        "$faulty" revert "$guest" name=back
    assert_status 5
    # The guest lives on, and ends.
    number=$(newest)
    go_on "$number"
    labguest tell "$guest" poweroff
    until_true 60 guest_shut_down
    guest_end
    snap recover "$guest"
    assert_status 0
    [[ $output == *"was let go at snapshot 'back'; what has become of it since is left as it is" ]]
    assert_nothing_pending
    guest_is_gone
    labguest start "$guest"
    assert_scanned
    assert_not_back $((number + 12))
}
