# SPDX-License-Identifier: LGPL-2.1-or-later
# For sweep*.bats: every step of create and revert x {fails before, fails after, kill
# -9 after, kill -9 of the guard, too}. The steps come from the dry run, so a new step
# is swept by itself. Needs the build with fault points.
# shellcheck shell=bash
#
# XLS_SWEEP says how much of it:
#     all    each step, each fault (make check-long)
#     each   each step, one of the faults in turn
#     0 1 2  each third step, from that one, with one fault; if unset, from that of
#            the day, and every three days with another fault
#
# A file calls sweep_setup [CREATE ARGUMENTS...] once its guest runs; every
# create is then made with these, "@NAME@" in them being the snapshot's name. All
# that a snapshot may leave behind must be shown by disk_state.

sweep_setup()
{
    printf '%s\0' "$@" >"$BATS_FILE_TMPDIR/args"
    snap create "$guest" name=gold "${@//@NAME@/gold}"
    [ "$status" -eq 0 ] || fail "gold"
    disk_state >"$BATS_FILE_TMPDIR/state"
}

# A file of "gold" that must never change.
is_frozen()
{
    [[ $1 == *-gold* ]]
}

# What is there of disks and snapshots: files, with digests of the frozen ones,
# tags, LVs, and what libxl would start.
disk_state()
{
    local file

    while read -r file; do
        if is_frozen "$file"; then
            sha256sum "$file"
        else
            echo "$file"
        fi
    done < <(find "$disk_dir" ! -type d | sort)
    snapshot_tags
    lvs --noheadings -o lv_full_name 2>/dev/null 3>&- 4>&-
    dmsetup ls | cut -f 1 | sort
    ls -A "$snapshots/$guest"
    xl list -l "$guest" |
        jq -c '.[0].config.disks[] | [.vdev, .pdev_path, .format]'
}

assert_gold_only()
{
    assert_nothing_pending
    disk_state | diff -u "$BATS_FILE_TMPDIR/state" - >&2 ||
        fail "something is left, or changed"
}

# How many images QEMU has open, of all chains.
qemu_nodes()
{
    xl qemu-monitor-command "$guest" "info block -n" | grep -c '^[^ ]'
}

# What a host or a QEMU that died has left of qcow2 may have leaks (status 3), but no
# errors.
assert_images_sound()
{
    local image status

    for image in "$disk_a" "$disk_b"; do
        status=0
        qemu-img check -U -q "$image" >&2 || status=$?
        [ "$status" -eq 0 ] || [ "$status" -eq 3 ] ||
            fail "qemu-img check $image: status $status"
    done
}

# The guest as its disks are now; $lowest is the first record that it makes.
start_again()
{
    labguest mark "$guest"
    labguest start "$guest"
    lowest=$(labguest lowest "$guest")
    assert_scanned
}

# create_outcome EARLIER LAST: of a guest that was ended. $outcome is "after" if there
# is a snapshot "try"; to that it is reverted, to no less than EARLIER, and it is taken
# away. The disks have all that was written up to LAST.
create_outcome()
{
    outcome=before
    [ ! -f "$snapshots/$guest/try/snapshot.cfg" ] || outcome=after
    start_again
    [ "$lowest" -ge "$2" ] || fail "$lowest: records up to $2 are lost"
    if [ "$outcome" = after ]; then
        snap revert "$guest" name=try
        assert_status 0
        lowest=$(labguest lowest "$guest")
        [ "$lowest" -ge "$1" ] || fail "$lowest: 'try' lacks records up to $1"
        assert_scanned
        forget_try
    fi
}

# revert_outcome LAST EARLIER: $outcome is "before" if the guest, which is started if
# it is not there, has all that it had written up to LAST, else "after", and then no
# less than EARLIER, from before the snapshot. While it was reverted it may have
# printed records of either time.
revert_outcome()
{
    if guest_is_gone; then
        start_again
    else
        lowest=$(labguest lowest "$guest")
        assert_scanned
    fi
    outcome=before
    if [ "$lowest" -lt "$1" ]; then
        outcome=after
        [ "$lowest" -ge "$2" ] ||
            fail "$lowest is neither before, $1, nor after, $2"
    fi
}

# steps COMMAND...: its fault points (steps.c), from the dry run: STEP, and for
# a step of disks STEP@FIRST and, if they are several, STEP/VDEV for each.
steps()
{
    local line name vdev
    local -a vdevs

    "$faulty" "$@" -n | sed 's/^ *[0-9]*\. //' | while read -r line; do
        name=${line%%:*}
        case $name in
        disk-*)
            line=${line#*: }
            IFS=', ' read -ra vdevs <<<"${line%%(*}"
            [ ${#vdevs[@]} -eq 1 ] || for vdev in "${vdevs[@]}"; do
                echo "$name/$vdev"
            done
            echo "$name@${vdevs[0]}"
            ;;
        *) echo "$name" ;;
        esac
    done
}

# fault STEP:WHEN COMMAND...
fault()
{
    run env XLSNAP_FAULT="$1" "$faulty" "${@:2}"
}

# Takes a complete snapshot "try" away, as an admin would: tags by name, files
# and LVs once nothing depends on them.
forget_try()
{
    local node

    if [ -z "$(find "$disk_dir" -name '*-try*')" ]; then
        for node in xvda-qcow2 xvdb-qcow2; do
            xl qemu-monitor-command "$guest" \
                "snapshot_delete_blkdev_internal $node try" >/dev/null
        done
    else
        snap revert "$guest" name=gold
        assert_status 0
        for node in "$disk_a" "$disk_b"; do
            qemu-img snapshot -U -l "$node" | grep -q ' try ' || continue
            xl qemu-monitor-command "$guest" \
                "snapshot_delete_blkdev_internal xvdb-qcow2 try" >/dev/null
        done
    fi
    rm -rf "$snapshots/$guest/try"
    find "$disk_dir" -name '*-try*' -delete
    lvs --noheadings -o lv_full_name 2>/dev/null 3>&- 4>&- |
        { grep -e -try || true; } | xargs -r lvremove -qq -y 3>&- 4>&-
}

# Step, moment: before and after are the only outcomes, and the guest runs.
check_create()
{
    local context="$1:$2" outcome=before nodes

    nodes=$(qemu_nodes)
    fault "$context" create "$guest" name=try "${create_args[@]}"
    [ "$status" -ne 0 ] || fail "the fault had no effect"
    if [ "$2" = before ] || [ "$2" = after ]; then
        [ "$status" -eq 1 ] || fail "not 1"
    else
        [ "$status" -eq 5 ] || fail "was not killed"
    fi
    until_true 60 no_guard || fail "the guard stays"
    if [ "$2" != killall-after ]; then
        assert_sound
        # Also without recover.
        assert_names_served
    fi
    snap recover "$guest"
    assert_status 0
    assert_sound
    assert_names_served
    if [ -f "$snapshots/$guest/try/snapshot.cfg" ]; then
        outcome=after
        forget_try
    elif [ "$(qemu_nodes)" != "$nodes" ]; then
        fail "QEMU has more, or fewer, than $nodes images open"
    fi
    assert_gold_only
    assert_monitored
    printf '# %s: %s\n' "$context" "$outcome" >&3
}

# After a fault in a revert the domain is where it was, or recover brings it
# to the snapshot.
check_revert()
{
    local context="$1:$2" id

    id=$(domid)
    fault "$context" revert "$guest" name=gold
    [ "$status" -ne 0 ] || fail "the fault had no effect"
    if [ "$status" -eq 1 ]; then
        [ "$(domid)" = "$id" ] || fail "exit 1, but another domain"
        assert_sound
    fi
    # It holds the locks while it lets the guest go on.
    until_true 60 no_guard || fail "the guard stays"
    snap recover "$guest"
    assert_status 0
    assert_sound
    labguest scan "$guest" 600 >/dev/null || fail "scan"
    assert_gold_only
    assert_monitored
    printf '# %s: %s\n' "$context" \
        "$([ "$(domid)" = "$id" ] && echo before || echo after)" >&3
}

# sweep_turn N FAULTS: does the Nth step have its turn?  $turn_fault is then the
# number of its fault.
sweep_turn()
{
    local day third

    day=$((10#$(date +%j)))
    case ${XLS_SWEEP-} in
    each)
        turn_fault=$(($1 % $2))
        ;;
    '' | 0 | 1 | 2)
        third=${XLS_SWEEP:-$((day % 3))}
        turn_fault=$((($1 / 3 + day / 3) % $2))
        [ $(($1 % 3)) -eq "$third" ]
        ;;
    *) return 1 ;;
    esac
}

# has_moment POINT MOMENT: the points of one disk are after it only (steps_disk_done).
has_moment()
{
    [[ $1 != */* || $2 != before ]]
}

# sweep create|revert MOMENT...: with several, each step gets the next of them.
sweep()
{
    local all step moment turn_fault n=0 checked=0
    local -a create_args moments=("${@:2}")

    mapfile -d '' create_args <"$BATS_FILE_TMPDIR/args"
    [ -n "${create_args[0]-}" ] || create_args=()
    create_args=("${create_args[@]//@NAME@/try}")
    if [ "$1" = create ]; then
        all=$(steps create "$guest" name=try "${create_args[@]}")
    else
        all=$(steps revert "$guest" name=gold)
    fi
    for step in $all; do
        if [ "${XLS_SWEEP-}" = all ]; then
            for moment in "${moments[@]}"; do
                if has_moment "$step" "$moment"; then
                    "check_$1" "$step" "$moment"
                fi
            done
            checked=$((checked + 1))
        elif sweep_turn "$n" ${#moments[@]}; then
            moment=${moments[turn_fault]}
            has_moment "$step" "$moment" || moment=after
            "check_$1" "$step" "$moment"
            checked=$((checked + 1))
        fi
        n=$((n + 1))
    done
    [ "$n" -ge 7 ] || fail "only $n steps"
    [ "$checked" -ge $((n / 3)) ] ||
        fail "XLS_SWEEP=${XLS_SWEEP-}: only $checked of $n steps were swept"
    # After all this the disks are what they should be, also for a new QEMU that
    # opens them by their names.
    assert_scanned
    reboots
    assert_scanned
}
