#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Logical volumes: how long the guest stands still for one, two and four, as it
# sees it itself, and how far apart their snapshots are; in the same run the way
# an admin goes today: xl save -p, lvcreate -s for each, xl unpause. It tells;
# only the oracle judges.

load ../xen/helpers
load ../xen/lvm

setup_file()
{
    guest_none
    vg_setup
}

teardown()
{
    guest_end
    vg_clear
    rm -rf "${snapshots:?}/$guest"
}

volumes=(a b c d)

admin_way()
{
    local name

    xl save -p "$guest" "$BATS_TEST_TMPDIR/admin.save"
    for name in "${used[@]}"; do
        if [ "$kind" = thin ]; then
            lv lvcreate -qq -s -n "$name-$1" "$vg/$name"
        else
            lv lvcreate -qq -y -s -L 16M -n "$name-$1" "$vg/$name"
        fi
    done
    xl unpause "$guest"
    rm "$BATS_TEST_TMPDIR/admin.save"
}

our_way()
{
    local disks='' vdev=a name

    for name in "${used[@]}"; do
        [ "$kind" = thin ] || disks="$disks'vdev=xvd$vdev,size=16M',"
        vdev=$(tr abcd bcde <<<"$vdev")
    done
    xl-snapshot create -vv "$guest" "name=$1" "disks=[ ${disks%,} ]" \
        2>"$BATS_TEST_TMPDIR/log"
}

# From the first volume's instant, before the first command, to the last one's.
apart()
{
    sed -n 's/.* snapshot .* took \([0-9]*\) ms$/\1/p' "$BATS_TEST_TMPDIR/log" |
        sed '$d' | awk '{ sum += $1 } END { print sum + 0 }'
}

# seen COMMAND...: ms the guest stood still.
seen()
{
    labguest mark "$guest"
    "$@" >/dev/null || fail "$*: $(cat "$BATS_TEST_TMPDIR/log")" || return
    assert_sound || return
    labguest gap "$guest" susp
}

rounds()
{
    local kind=$1 n round vdev name
    local -a used disks
    local admin ours

    for n in 1 2 4; do
        used=("${volumes[@]:0:n}") disks=() vdev=a
        for name in "${used[@]}"; do
            lv_new "$kind" "$name"
            # By QEMU: with blkback the hotplug scripts take their turns.
            disks+=("/dev/$vg/$name,raw,xvd$vdev,w,backendtype=qdisk")
            vdev=$(tr abcd bcde <<<"$vdev")
        done
        guest_on "${disks[@]}"
        for round in $(seq "${XLS_ROUNDS:-3}"); do
            admin=$(seen admin_way "admin$round")
            ours=$(seen our_way "ours$round")
            printf '# %s, %s: admin %s ms, ours %s ms, %s ms apart\n' \
                "$n $kind" "$round" "$admin" "$ours" "$(apart)" >&3
            rm -r "${snapshots:?}/$guest/ours$round"
        done
        assert_scanned
        guest_end
        vg_clear
    done
}

@test "the pause for one, two and four thick volumes: the admin's way, ours" {
    rounds thick
}

@test "the pause for one, two and four thin volumes: the admin's way, ours" {
    rounds thin
}
