#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks on LVM: a thick volume served by blkback and a thin one served by QEMU.
# Takes minutes.

load helpers
load lvm
load lvm-pair

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

# bats test_tags=long
@test "revert when the domain is not running, nor its thin volume active" {
    guest_end
    lv lvchange -qq -an "$vg/root-b"
    reverts_when_not_running
    assert_as_gold
}

# The thin disk is another volume than before.
# bats test_tags=long
@test "a reboot, save and restore, shutdown and create: on the right volumes" {
    reboots
    assert_scanned
    saves_and_restores
    restarts
    assert_as_gold
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

# bats test_tags=long
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

# bats test_tags=long
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

# bats test_tags=long
@test "one target for two disks is refused" {
    snap create "$guest" name=new \
        "disks=['vdev=xvda,target=same', 'vdev=xvdb,target=same']"
    assert_refused "target '/dev/$vg/same' is disk"
}

# bats test_tags=long
@test "a target in another volume group, or that is no name, is refused" {
    snap create "$guest" name=new "disks=['vdev=xvda,target=/dev/other/x']"
    assert_refused "target '/dev/other/x' is in another volume group"
    snap create "$guest" name=new "disks=['vdev=xvda,target=/srv/x.img']"
    assert_refused "neither the name of a logical volume nor /dev/VG/NAME"
    snap create "$guest" name=new "disks=['vdev=xvda,target=snapshot1']"
    assert_refused "cannot be the name of a logical volume: it is reserved by LVM"
}

# bats test_tags=long
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

# bats test_tags=long
@test "a volume group that stays locked is refused, in bounded time" {
    local command id holder

    id=$(domid)
    for command in "create $guest name=new" "revert $guest name=gold"; do
        flock "$lock_file" sleep 25 3>&- &
        holder=$!
        until_true 10 eval "! flock -n $lock_file true"
        # shellcheck disable=SC2086
        snap $command
        kill "$holder"
        wait "$holder" || true
        assert_refused "the volume group has been locked by another LVM command"
        assert_gold_lvs
        [ "$(domid)" = "$id" ]
    done
}

# pool_fill PERCENT: the volume "filler" takes as much of the thin pool's 600 MB.
pool_fill()
{
    local now at=0

    while now=$(lv_says data_percent pool | cut -d. -f1); [ "$now" -lt "$1" ]; do
        dd if=/dev/zero of="/dev/$vg/filler" bs=1M count=$((6 * ($1 - now))) \
            seek="$at" oflag=direct conv=notrunc status=none
        at=$((at + 6 * ($1 - now)))
    done
}

# bats test_tags=long
@test "a thin pool that fills up: told, then refused, also at a revert" {
    local id

    id=$(domid)
    lv lvcreate -qq -y -Wn -V 640M -T "$vg/pool" -n filler
    pool_fill 82
    snapshot new
    assert_told "disk 'xvdb': thin pool '$vg/pool' is 8? % full; a snapshot keeps what the guest changes"
    lv lvremove -qq -f -y "$vg/root-a-new" "$vg/root-b-new"
    rm -r "$snapshots/$guest/new"
    program lvs <<'END'
/sbin/lvs "$@" |
    sed '/"lv_name":"pool"/s/"metadata_percent":"[^"]*"/"metadata_percent":"95.01"/'
END
    snap_with_fakes create "$guest" name=new
    assert_refused "metadata 95.01 %): the guest would soon have no room to write"
    # What is left it would fill in a moment.
    xl pause "$guest"
    lv lvremove -qq -f -y "$vg/filler"
    lv lvcreate -qq -y -Wn -V 640M -T "$vg/pool" -n filler
    pool_fill 98
    snap revert "$guest" name=gold
    lv lvremove -qq -f -y "$vg/filler"
    xl unpause "$guest"
    assert_refused "disk 'xvdb': thin pool '$vg/pool' is too full (data 98."
    [ "$(domid)" = "$id" ]
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
    snap_while_open "/dev/$vg/root-a-gold" revert "$guest" name=gold
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

    small_made
    id=$(domid)
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
    small_gone
}
