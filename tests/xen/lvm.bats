#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks on LVM: a thick volume served by blkback and a thin one served by QEMU.
# Takes minutes.

load helpers
load lvm

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

@test "a snapshot of a thick and a thin volume leaves the guest running" {
    assert_sound
    assert_gold_lvs
    [ "$(lv_says origin root-a-gold)" = root-a ]
    [ "$(lv_says origin root-b-gold)" = root-b ]
}

@test "the snapshots are read-only, and the thin one is not active" {
    [ "$(lv_says lv_permissions root-a-gold)" = read-only ]
    [ "$(lv_says lv_permissions root-b-gold)" = read-only ]
    [ -z "$(lv_says lv_active root-b-gold)" ]
    [ "$(lv_says lv_skip_activation root-b-gold)" = "skip activation" ]
}

@test "the thick one is monitored like any other, and LVM's backup is current" {
    [ "$(lv_says seg_monitor root-a-gold)" = monitored ]
    grep -q root-a-gold "/etc/lvm/backup/$vg"
}

@test "snapshot.cfg names the targets and the size, and revert reads it" {
    grep -q "size=64M,target=/dev/$vg/root-a-gold,source=/dev/$vg/root-a" \
        "$snapshots/$guest/gold/snapshot.cfg"
    grep -q "target=/dev/$vg/root-b-gold,source=/dev/mapper" \
        "$snapshots/$guest/gold/snapshot.cfg"
}

@test "revert takes both back, twice: the snapshots survive" {
    for _ in 1 2; do
        go_on
        snap revert "$guest" name=gold
        assert_status 0
        assert_back_at_gold
        assert_as_gold
    done
}

@test "revert when the domain is not running" {
    guest_end
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_monitored
}

# bats test_tags=long
@test "a thick revert needs no room in its store, however much it copies" {
    local before

    change 11 43
    before=$(lv_says snap_percent root-a-gold)
    snap revert "$guest" name=gold
    assert_status 0
    # The guest has written on, a little.
    [ "$(($(lv_says snap_percent root-a-gold | tr -d .) - ${before/./}))" -lt 300 ]
    assert_back_at_gold
    assert_as_gold
    assert_unchanged 11 43
}

@test "a thin revert keeps what the admin has set" {
    lv lvchange -qq --addtag mine "$vg/root-b"
    lv lvchange -qq --setautoactivation n "$vg/root-b"
    snap revert "$guest" name=gold
    assert_status 0
    [[ ,$(lv_says lv_tags root-b), == *,mine,* ]]
    [ -z "$(lv_says lv_autoactivation root-b)" ]
    [ "$(lv_says lv_skip_activation root-b)" = "" ]
    lv lvchange -qq --setautoactivation y "$vg/root-b"
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "revert --keep keeps the discarded state of both" {
    local sum_a sum_b kept_a kept_b

    go_on
    guest_end
    sum_a=$(sha256sum <"/dev/$vg/root-a")
    sum_b=$(sha256sum <"/dev/$vg/root-b")
    snap revert --keep "$guest" name=gold
    assert_status 0
    kept_a=$(lvs_now | grep '^root-a-discarded-[0-9]*T[0-9]*Z$')
    kept_b=$(lvs_now | grep '^root-b-discarded-[0-9]*T[0-9]*Z$')
    lv lvchange -qq -ay -K "$vg/$kept_b"
    [ "$(sha256sum <"/dev/$vg/$kept_a")" = "$sum_a" ] || fail "thick"
    [ "$(sha256sum <"/dev/$vg/$kept_b")" = "$sum_b" ] || fail "thin"
    lv lvremove -qq -y "$vg/$kept_a" "$vg/$kept_b"
    assert_back_at_gold
    assert_as_gold
}

@test "--keep without space for it is refused before the destroy" {
    local id

    change 11 43
    id=$(domid)
    lv lvcreate -qq -y -Wn -Zn -l 100%FREE -n filler "$vg"
    snap revert --keep "$guest" name=gold
    assert_refused "to keep what is given up needs"
    [ "$(domid)" = "$id" ]
}

# bats test_tags=long
@test "targets by name and by path, and size in percent of the origin" {
    snap create "$guest" name=two \
        "disks=['vdev=xvda,size=50%ORIGIN,target=mine', 'vdev=xvdb,target=/dev/$vg/also.mine']"
    assert_status 0
    [[ $stderr == *"snapshot '$vg/mine' has room for 32 MiB of changes"* ]]
    [ "$(lv_says lv_size mine)" = 32.00m ]
    [ "$(lv_says pool_lv also.mine)" = pool ]
    assert_sound
    snap revert "$guest" name=two
    assert_status 0
    assert_scanned
    snap revert "$guest" name=gold
    assert_status 0
    lv lvremove -qq -f -y "$vg/mine" "$vg/also.mine"
    rm -r "$snapshots/$guest/two"
    assert_back_at_gold
    assert_as_gold
}

# ---- what is refused ----

@test "a target that exists is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,target=root-b']"
    assert_refused "disk 'xvda': logical volume '$vg/root-b' exists already, and nothing is ever overwritten"
    snap create "$guest" name=new "disks=['vdev=xvdb,target=pool']"
    assert_refused "logical volume '$vg/pool' exists already"
}

@test "one target for two disks is refused" {
    snap create "$guest" name=new \
        "disks=['vdev=xvda,target=same', 'vdev=xvdb,target=same']"
    assert_refused "target '/dev/$vg/same' is disk"
}

@test "a target in another volume group, or that is no name, is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,target=/dev/other/x']"
    assert_refused "target '/dev/other/x' is in another volume group"
    snap create "$guest" name=new "disks=['vdev=xvda,target=/srv/x.img']"
    assert_refused "neither the name of a logical volume nor /dev/VG/NAME"
    snap create "$guest" name=new "disks=['vdev=xvda,target=snapshot1']"
    assert_refused "cannot be the name of a logical volume: it is reserved by LVM"
}

@test "a disk whose volume was replaced is refused" {
    local name

    for name in root-a root-b; do
        lv lvrename -qq "$vg" "$name" away
        lv lvcreate -qq -y -Wn -Zn -L 8M -n "$name" "$vg"
        snap create "$guest" name=new
        lv lvremove -qq -y "$vg/$name"
        lv lvrename -qq "$vg" away "$name"
        case $name in
        root-a) assert_refused "disk 'xvda': '/dev/$vg/root-a' is not the volume to which the guest writes; was it replaced?" ;;
        root-b) assert_refused "root--b' is not what QEMU (pid " ;;
        esac
    done
    assert_gold_lvs
}

@test "an overlay of a volume is refused" {
    snap create "$guest" name=new \
        "disks=['vdev=xvdb,snapshot=overlay,target=/var/tmp/b.qcow2']"
    assert_refused "only raw, VHD and qcow2 files that QEMU serves can get an overlay"
}

@test "an internal snapshot of a raw volume is refused" {
    snap create --internal "$guest" name=new
    assert_refused "only qcow2 images"
}

@test "size= for a thin volume is refused" {
    snap create "$guest" name=new "disks=['vdev=xvdb,snapshot=external,size=1G']"
    assert_refused "disk 'xvdb': size= is for volumes that are not thin"
}

@test "too little space in the volume group is refused, with what is needed" {
    lv lvcreate -qq -y -Wn -Zn -l 100%FREE -n filler "$vg"
    lv lvreduce -qq -f -L -8M "$vg/filler"
    snap create "$guest" name=new
    assert_refused "the snapshot needs 16 MiB for what the guest changes, but volume group '$vg' has only 8 MiB free"
    # So little was asked for that it fits.
    snap create -n "$guest" name=new \
        "disks=['vdev=xvda,snapshot=external,size=8M']"
    assert_status 0
}

@test "a volume group that stays locked is refused, in bounded time" {
    flock "$lock_file" sleep 25 3>&- &
    local holder=$!

    until_true 10 eval "! flock -n $lock_file true"
    snap create "$guest" name=new
    kill "$holder"
    wait "$holder" || true
    assert_refused "the volume group has been locked by another LVM command"
    assert_gold_lvs
}

@test "a snapshot that is gone, or another volume now, is refused" {
    local id

    id=$(domid)
    lv lvrename -qq "$vg" root-b-gold away
    snap revert "$guest" name=gold
    assert_refused "disk 'xvdb': the snapshot '/dev/$vg/root-b-gold' is not there"
    lv_new thin root-b-gold 64
    snap revert "$guest" name=gold
    assert_refused "'$vg/root-b-gold' is neither a snapshot of '$vg/root-b' nor one that xl-snapshot has made"
    lv lvremove -qq -y "$vg/root-b-gold"
    lv lvrename -qq "$vg" away root-b-gold
    [ "$(domid)" = "$id" ]
    assert_gold_lvs
}

@test "a snapshot that somebody may be writing to is refused" {
    lv lvchange -qq -prw "$vg/root-a-gold"
    exec 7<>"/dev/$vg/root-a-gold"
    snap revert "$guest" name=gold
    exec 7>&-
    lv lvchange -qq -pr "$vg/root-a-gold"
    assert_refused "the snapshot '$vg/root-a-gold' is in use, and can be written to"
}

@test "a volume that dom0 has in use, too, is refused before the destroy" {
    local id

    id=$(domid)
    dmsetup create onit --table "0 8 linear /dev/$vg/root-a 0"
    snap revert "$guest" name=gold
    dmsetup remove --retry onit
    assert_refused "disk 'xvda' ('/dev/$vg/root-a') is in use by device dm-"
    [ "$(domid)" = "$id" ]
}

# bats test_tags=long
@test "a volume that dom0 has in use is not reverted" {
    guest_end
    exec 7<"/dev/$vg/root-a"
    snap revert "$guest" name=gold
    exec 7>&-
    assert_status 4
    assert_says "disk 'xvda' ('/dev/$vg/root-a') is"
    # The kernel's users no process shows.
    dmsetup create onit --table "0 8 linear /dev/$vg/root-a 0"
    snap revert "$guest" name=gold
    dmsetup remove --retry onit
    assert_status 4
    assert_says "disk 'xvda' ('/dev/$vg/root-a') is in use by device dm-"
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "another snapshot of the volume that would overflow is not lost unasked" {
    local id

    change 11 43
    lv lvcreate -qq -y -s -L 4M -n tiny "$vg/root-a"
    id=$(domid)
    snap revert "$guest" name=gold
    assert_refused "going back would overflow '$vg/tiny', another snapshot of the same volume"
    [ "$(domid)" = "$id" ]
    snap revert --force "$guest" name=gold
    assert_status 0
    [[ $(lv_says lv_attr tiny) == ????I* ]]
    lv lvremove -qq -f -y "$vg/tiny"
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a snapshot about to overflow is refused, an overflowed one too" {
    local id n=0

    snap create "$guest" name=small \
        "disks=['vdev=xvda,snapshot=external,size=4M']"
    assert_status 0
    id=$(domid)
    change 11 23
    # What is left the guest would fill by itself, in a moment.
    xl pause "$guest"
    while [ "$(lv_says snap_percent root-a-small | cut -d. -f1)" -lt 98 ]; do
        dd if=/dev/urandom of="/dev/$vg/root-a" bs=16k count=1 \
            seek=$((64 * 31 + 16 + n)) oflag=direct conv=notrunc status=none
        n=$((n + 1))
    done
    snap revert "$guest" name=small
    xl unpause "$guest"
    assert_refused "the snapshot '$vg/root-a-small' is about to overflow"
    change 25 27
    snap revert "$guest" name=small
    assert_refused "the snapshot '$vg/root-a-small': it has overflowed, and is lost"
    [ "$(domid)" = "$id" ]
    lv lvremove -qq -f -y "$vg/root-a-small" "$vg/root-b-small"
    rm -r "$snapshots/$guest/small"
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# ---- when it goes wrong ----

# program NAME: a fake that stands before LVM's own; its body from stdin.
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

# bats test_tags=long
@test "a store that fills up between proof and destroy: refused, the guest goes on" {
    local id

    snap create "$guest" name=small \
        "disks=['vdev=xvda,snapshot=external,size=4M']"
    assert_status 0
    id=$(domid)
    change 11 23
    program lvs <<END
if compgen -G '$pending/*.json' >/dev/null; then
    for mb in 25 27 29; do
        dd if=/dev/urandom of=/dev/$vg/root-a bs=256k count=2 \
            seek=\$((4 * mb + 1)) oflag=direct conv=notrunc status=none
    done
fi
exec /sbin/lvs "\$@"
END
    snap_with_fakes revert "$guest" name=small
    assert_refused "the snapshot '$vg/root-a-small': it has overflowed, and is lost"
    [ "$(domid)" = "$id" ]
    lv lvremove -qq -f -y "$vg/root-a-small" "$vg/root-b-small"
    rm -r "$snapshots/$guest/small"
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

@test "a revert that fails or is killed in its last look: the guest goes on" {
    local where how id

    id=$(domid)
    for where in last-look:after no-return:after; do
        run env XLSNAP_FAULT="$where" "$faulty" revert "$guest" name=gold
        assert_status 1
        assert_sound
        assert_nothing_pending
        [ "$(domid)" = "$id" ]
    done
    for how in "" --abandon; do
        run env XLSNAP_FAULT=last-look:kill-after "$faulty" revert "$guest" name=gold
        assert_status 5
        [ "$(xl list "$guest" | awk 'NR == 2 { print substr($5, 3, 1) }')" = p ]
        # shellcheck disable=SC2086
        snap recover $how "$guest"
        assert_status 0
        assert_sound
        assert_nothing_pending
        [ "$(domid)" = "$id" ]
    done
    assert_gold_lvs
}

# As before: no volume, no record, and the origin's table.
assert_undone()
{
    assert_status 1
    assert_sound
    assert_nothing_pending
    assert_gold_lvs
    assert_monitored
    [ "$(dmsetup table "${vg/-/--}-root--a")" = "$table" ] ||
        fail "the disk's table was $table"
}

@test "an lvconvert that fails in the pause: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvconvert <<<'echo "  out of luck" >&2; exit 5'
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvda': 'lvconvert' exited with status 5: out of luck"
    assert_undone
}

@test "an lvcreate that is killed at its work: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvcreate <<'END'
case "$*" in
*root-b-new*--test* | *--test*) exec /sbin/lvcreate "$@" ;;
*root-b-new*) exec timeout -s KILL 0.6 /sbin/lvcreate "$@" ;;
esac
exec /sbin/lvcreate "$@"
END
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvdb': 'lvcreate'"
    assert_undone
}

@test "whatever of its tree a killed command has left suspended goes on, and nothing else" {
    local table device prefix=${vg/-/--}

    table=$(dmsetup table "$prefix-root--a")
    lv_new thick other 8
    # Dead are the tool and its guard; only recover is left to help.
    run env XLSNAP_FAULT=disk-create:killall-after "$faulty" create "$guest" name=new
    assert_status 5
    for device in root--a root--a--gold root--a--gold-cow root--a-real root--b \
        pool-tpool pool_tdata other; do
        dmsetup suspend --nolockfs "$prefix-$device"
    done
    snap recover "$guest"
    assert_status 0
    assert_sound
    [ "$(dmsetup info -c --noheadings -o name,suspended | grep :Suspended)" = \
        "$prefix-other:Suspended" ]
    dmsetup resume "$prefix-other"
    lv lvremove -qq -f -y "$vg/other"
    status=1
    assert_undone
}

@test "a lock that is taken in the pause: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    # Whoever holds it lets go in time for the undo.
    program lvconvert <<END
flock $lock_file sleep 16 </dev/null >/dev/null 2>&1 &
until ! flock -n $lock_file true; do :; done
rm $BATS_TEST_TMPDIR/bin/lvconvert
exec /sbin/lvconvert "\$@"
END
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvda': the volume group has been locked by another LVM command for 10 s"
    assert_undone
}

@test "the tool is killed while lvconvert works: the guard waits for it" {
    local table creator

    table=$(dmsetup table "${vg/-/--}-root--a")
    # Under its own name, by which it is found.
    program lvconvert <<END
exec -a lvconvert bash -c '
touch $BATS_TEST_TMPDIR/working
dmsetup suspend ${vg/-/--}-root--a
sleep 5
dmsetup resume ${vg/-/--}-root--a
exec /sbin/lvconvert "\$@"' lvconvert "\$@"
END
    PATH=$BATS_TEST_TMPDIR/bin:$PATH xl-snapshot create "$guest" name=new \
        2>"$BATS_TEST_TMPDIR/err" 3>&- &
    creator=$!
    until_true 180 test -e "$BATS_TEST_TMPDIR/working"
    kill -KILL "$(pgrep -P "$creator")" "$creator"
    wait "$creator" || true
    assert_sound
    snap recover "$guest"
    status=$((status ? status : 1)) stderr=
    assert_undone
}

@test "a revert that died between the two renames is finished" {
    local token

    run env XLSNAP_FAULT=disk-revert:kill-before "$faulty" revert "$guest" name=gold
    assert_status 5
    token=$(jq -r .token "$pending"/*.json)
    lv lvcreate -qq -y -s -kn -n "xl-snapshot.$token.xvdb" \
        --addtag "xl-snapshot.$token" "$vg/root-b-gold"
    lv lvchange -qq -an "$vg/root-b"
    lv lvrename -qq "$vg" root-b "xl-snapshot.$token.xvdb.old"
    snap recover
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a thin volume that was written to after a revert that died is taken back again" {
    run env XLSNAP_FAULT=disk-revert:kill-after "$faulty" revert "$guest" name=gold
    assert_status 5
    lv lvchange -qq -ay "$vg/root-b"
    dd if=/dev/urandom of="/dev/$vg/root-b" bs=1M count=32 oflag=direct \
        conv=notrunc status=none
    labguest mark "$guest"
    snap recover "$guest"
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a thick revert that died in the middle of copying is finished" {
    change 11 43
    run env XLSNAP_FAULT=disk-revert:kill-before "$faulty" revert "$guest" name=gold
    assert_status 5
    dd if="/dev/$vg/root-a-gold" of="/dev/$vg/root-a" bs=1M count=25 \
        oflag=direct conv=notrunc status=none
    snap recover
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_unchanged 11 43
}

# bats test_tags=long
@test "revert --keep, killed after the disks, keeps the first discarded state" {
    local sum kept

    go_on
    guest_end
    sum=$(sha256sum <"/dev/$vg/root-a"; sha256sum <"/dev/$vg/root-b")
    run env XLSNAP_FAULT=disk-revert:kill-after "$faulty" revert --keep "$guest" name=gold
    assert_status 5
    snap recover
    assert_status 0
    kept=$(lvs_now | grep -- -discarded-)
    [ "$(wc -l <<<"$kept")" = 2 ] || fail "kept: $kept"
    lv lvchange -qq -ay -K "$vg/$(grep ^root-b- <<<"$kept")"
    [ "$(for one in $kept; do sha256sum <"/dev/$vg/$one"; done)" = "$sum" ] ||
        fail "what was kept differs"
    for one in $kept; do
        lv lvremove -qq -f -y "$vg/$one"
    done
    assert_back_at_gold
    assert_as_gold
}
