# SPDX-License-Identifier: LGPL-2.1-or-later
# For lvm.bats and lvm-faults.bats: the guest of the file on a thick volume served
# by blkback and a thin one served by QEMU, with a snapshot "gold" that each test
# finds there and leaves there.
# shellcheck shell=bash

setup_file()
{
    guest_none
    vg_setup
    lv_new thick root-a
    lv_new thin root-b
    guest_on "/dev/$vg/root-a,raw,xvda,w" \
        "/dev/mapper/${vg/-/--}-root--b,raw,xvdb,w,backendtype=qdisk"
    snap create "$guest" name=gold
    gold_made
}

teardown_file()
{
    guest_end
    assert_vg_whole
    vg_clear
}

# What the test before may have left, if it failed.
setup()
{
    local name

    for name in $(lvs_now | grep -vxE 'pool|root-[ab](-gold)?'); do
        lv lvremove -qq -f -y "$vg/$name" || true
    done
    rm -f "${pending:?}"/*.json
    find "$snapshots/$guest" -mindepth 1 -maxdepth 1 ! -name gold -exec rm -r {} +
    if ! labguest check "$guest" >/dev/null 2>&1; then
        guest_end
        xl-snapshot revert "$guest" name=gold 3>&-
    fi
}

# As it was when "gold" was made, and nothing left over.
assert_as_gold()
{
    assert_scanned
    assert_nothing_pending
    assert_gold_lvs
}

# The snapshots are there, and nothing else but the disks.
assert_gold_lvs()
{
    [ "$(lvs_now | xargs)" = "pool root-a root-a-gold root-b root-b-gold" ] ||
        fail "volumes: $(lvs_now | xargs)"
    assert_not_suspended
}

# No volume is there but those that these tests make themselves.
assert_refused()
{
    local more

    assert_status 4
    assert_says "$1"
    assert_sound
    assert_nothing_pending
    assert_not_suspended
    more=$(lvs_now |
        grep -vxE 'pool|root-[ab](-gold|-small)?|filler|away|tiny') || return 0
    fail "volumes are left: $more"
}

# The oracle's records lie about the even MBs of 64; between them there is room.
# change FIRST LAST: 512 KB in each odd one of these, as a guest might write.
change()
{
    local mb

    for ((mb = $1; mb <= $2; mb += 2)); do
        dd if=/dev/urandom of="/dev/$vg/root-a" bs=256k count=2 \
            seek=$((4 * mb + 1)) oflag=direct conv=notrunc status=none
    done
}

# Nothing of it is left.
assert_unchanged()
{
    local mb

    for ((mb = $1; mb <= $2; mb += 2)); do
        dd if="/dev/$vg/root-a" bs=256k count=2 skip=$((4 * mb + 1)) \
            iflag=direct status=none | cmp -n 524288 - /dev/zero ||
            fail "MB $mb is not as it was"
    done
}

# A snapshot "small" whose store is nearly full.
small_made()
{
    snap create "$guest" name=small \
        "disks=['vdev=xvda,snapshot=external,size=4M']"
    assert_status 0
    change 11 23
}

small_gone()
{
    lv lvremove -qq -f -y "$vg/root-a-small" "$vg/root-b-small"
    rm -r "$snapshots/$guest/small"
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}
