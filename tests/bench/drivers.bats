#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What each kind of disk takes of the pause, for none, 1, 4 and 16 of them, in one
# run. It tells; only the oracle judges.

load ../xen/helpers
load ../xen/lvm
load ../xen/copy

setup()
{
    fs_new xfs 1G
    letters=({b..q})
}

teardown()
{
    guest_end
    ! lv vgs "$vg" >/dev/null 2>&1 || vg_clear
    fs_end
}

# attach KIND: a guest, and sixteen disks of the kind beside its own.
attach()
{
    local letter

    labguest disk "$fs/a.qcow2"
    labguest start "$guest" --mem 192 --disk "$fs/a.qcow2,qcow2,xvda,w"
    for letter in "${letters[@]}"; do
        [ "$1" != qcow2 ] || labguest disk "$fs/$letter.qcow2" 16M
        [ "$1" != raw ] || truncate -s 16M "$fs/$letter.raw"
        case $1 in
        loop)
            truncate -s 16M "$fs/$letter.raw"
            xl block-attach "$guest" \
                "format=raw,vdev=xvd$letter,access=rw,target=$fs/$letter.raw"
            ;;
        qcow2 | raw)
            xl block-attach "$guest" \
                "format=$1,vdev=xvd$letter,access=rw,backendtype=qdisk,target=$fs/$letter.$1"
            ;;
        thick | thin)
            lv_new "$1" "$letter" 16
            xl block-attach "$guest" \
                "format=raw,vdev=xvd$letter,access=rw,backendtype=qdisk,target=/dev/$vg/$letter"
            ;;
        esac
    done
}

# pause N METHOD[,WORDS]: "@" in it is a new name for each disk. Prints ms of the
# pause for the disks, the first N of the sixteen taken; memory, which takes much
# longer and varies more, is not in it.
pause()
{
    local i method ms disks="'vdev=xvda,snapshot=no'"

    for i in "${!letters[@]}"; do
        method=no
        [ "$i" -ge "$1" ] || method=${2//@/$fs/${letters[i]}-$round-$1}
        disks="$disks, 'vdev=xvd${letters[i]},snapshot=$method'"
    done
    ms=$(xl-snapshot create --json -f "$guest" name="n$round-$1" \
        "disks=[ $disks ]" 2>"$BATS_TEST_TMPDIR/err" | jq -e .disks_pause_ms) ||
        fail "$(cat "$BATS_TEST_TMPDIR/err")"
    # Of the memory images there is room for few.
    rm -r "${snapshots:?}/$guest/n$round-$1"
    echo "$ms"
}

# rounds KIND METHOD WORDS
rounds()
{
    local round n

    attach "$1"
    for round in $(seq "${XLS_ROUNDS:-3}"); do
        printf '# %s, round %s, ms for 0, 1, 4, 16 disks:' "$3" "$round" >&3
        for n in 0 1 4 16; do
            printf ' %s' "$(pause "$n" "$2")" >&3
        done
        echo >&3
    done
    assert_sound
}

@test "the pause with qcow2, internal" {
    rounds qcow2 internal "qcow2 internal"
}

@test "the pause with qcow2, external" {
    rounds qcow2 external "qcow2 external"
}

@test "the pause with raw files that are cloned" {
    rounds raw external "raw, reflink"
}

@test "the pause with raw files behind loop devices" {
    rounds loop external "raw behind a loop device, reflink"
}

@test "the pause with overlays" {
    rounds raw overlay,target=@.ovl "overlay"
}

@test "the pause with thick volumes" {
    vg_setup
    rounds thick external,size=16M "LVM thick"
}

@test "the pause with thin volumes" {
    vg_setup
    rounds thin external "LVM thin"
}
