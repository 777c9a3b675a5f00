#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks on LVM of every kind, also in one domain with others.
# Takes long.

load helpers
load lvm
load volumes

teardown()
{
    guest_end
    assert_volumes_whole
    ! mountpoint -q "$BATS_TEST_TMPDIR/frozen" || {
        fsfreeze -u "$BATS_TEST_TMPDIR/frozen" || true
        umount "$BATS_TEST_TMPDIR/frozen"
    }
    for loop in ${loops-}; do
        losetup -d "$loop"
    done
}

# The qcow2 images in volumes.
assert_volumes_whole()
{
    local name

    for name in $(lvs_now); do
        [ -b "/dev/$vg/$name" ] || continue
        [ "$(qemu-img info --output=json "/dev/$vg/$name" | jq -r .format)" != qcow2 ] ||
            qemu-img check -q -f qcow2 "/dev/$vg/$name" ||
            fail "the image in $name is damaged"
    done
}

# check_disks [CREATE ARGUMENT...]: a snapshot, the guest writes on, twice back.
check_disks()
{
    local number

    snap create "$guest" name=one "$@"
    assert_status 0
    assert_sound
    number=$(newest)
    for _ in 1 2; do
        go_on "$number"
        snap revert "$guest" name=one
        assert_status 0
        assert_back_at "$number"
        assert_scanned
    done
    assert_nothing_pending
    assert_not_suspended
}

@test "thick, served by QEMU" {
    lv_new thick a
    guest_on "/dev/$vg/a,raw,xvda,w,backendtype=qdisk"
    check_disks
}

@test "thin, served by blkback" {
    lv_new thin a
    guest_on "/dev/$vg/a,raw,xvda,w"
    check_disks
}

@test "all kinds, and an image file, of one instant" {
    lv_new thick a
    lv_new thick b
    lv_new thin c
    lv_new thin d
    lv_new thick e 128
    qemu-img create -q -f qcow2 "/dev/$vg/e" 64M
    labguest disk "$disk_dir/f.qcow2"
    guest_on "/dev/$vg/a,raw,xvda,w" \
        "/dev/$vg/b,raw,xvdb,w,backendtype=qdisk" \
        "/dev/$vg/c,raw,xvdc,w" \
        "/dev/$vg/d,raw,xvdd,w,backendtype=qdisk" \
        "/dev/$vg/e,qcow2,xvde,w" \
        "$disk_dir/f.qcow2,qcow2,xvdf,w"
    check_disks "disks=['vdev=xvde,snapshot=external']"
    [ "$(lvs_now | grep -c -- -one)" -eq 5 ]
    qemu-img info -U "$disk_dir/f.qcow2" | grep -q ' one '
}

@test "a qcow2 image in a volume: internal, as by default" {
    lv_new thick a 128
    qemu-img create -q -f qcow2 "/dev/$vg/a" 64M
    guest_on "/dev/$vg/a,qcow2,xvda,w"
    check_disks
    qemu-img snapshot -U -l "/dev/$vg/a" | grep -q ' one '
    [ "$(lvs_now | xargs)" = "a pool" ]
}

@test "a qcow2 image in a volume, though the guest flushes nothing" {
    lv_new thin a 128
    qemu-img create -q -f qcow2 "/dev/$vg/a" 64M
    guest_options=(--flush 100000)
    guest_on "/dev/$vg/a,qcow2,xvda,w"
    check_disks --external
}

@test "what an lvconvert killed in the kernel's half has left there is removed" {
    local device="${vg/-/--}-a" table uuid

    lv_new thick a
    guest_on "/dev/$vg/a,raw,xvda,w"
    table=$(dmsetup table "$device")
    uuid=$(dmsetup info -c --noheadings -o uuid "$device")
    run env XLSNAP_FAULT=disk-create:killall-before "$faulty" create "$guest" name=one
    assert_status 5
    # As LVM does it, up to the moment before the resume.
    dmsetup create "$device-real" -u "$uuid-real" --table "$table"
    dmsetup load "$device" --table \
        "0 $(blockdev --getsz "/dev/$vg/a") snapshot-origin /dev/mapper/$device-real"
    dmsetup suspend "$device"
    snap recover "$guest"
    assert_status 0
    assert_sound
    assert_not_suspended
    [ "$(dmsetup table "$device")" = "$table" ]
    [ "$(dmsetup info -c --noheadings -o tables_loaded "$device")" = Live ]
    run ! dmsetup info "$device-real"
    check_disks
}

@test "an lvconvert that hangs with the disk suspended holds the guest no longer than a minute" {
    local device="${vg/-/--}-a" table gap

    lv_new thick a
    guest_on "/dev/$vg/a,raw,xvda,w"
    table=$(dmsetup table "$device")
    program lvconvert <<END
dmsetup suspend $device
exec sleep 300
END
    labguest mark "$guest"
    snap_with_fakes create "$guest" name=new
    assert_status 1
    assert_says "disk 'xvda': 'lvconvert' did not finish within 60 s"
    assert_sound
    gap=$(labguest gap "$guest" susp)
    [ "$gap" -gt 40000 ] && [ "$gap" -lt 80000 ] || fail "it stood still for $gap ms"
    assert_nothing_pending
    assert_not_suspended
    [ "$(dmsetup table "$device")" = "$table" ]
    [ "$(lvs_now | xargs)" = "a pool" ]
}

@test "an lvconvert that hangs in the kernel is given up, and the guest goes on" {
    local frozen=$BATS_TEST_TMPDIR/frozen

    lv_new thick a
    guest_on "/dev/$vg/a,raw,xvda,w"
    truncate -s 32M "$disk_dir/frozen"
    mkfs.ext4 -q "$disk_dir/frozen"
    mkdir "$frozen"
    mount -o loop "$disk_dir/frozen" "$frozen"
    # Whoever writes to a frozen file system sleeps, and no signal wakes it.
    program lvconvert <<END
exec -a lvconvert bash -c ': >$frozen/file' lvconvert "\$@"
END
    fsfreeze -f "$frozen"
    labguest mark "$guest"
    snap_with_fakes create "$guest" name=new
    assert_status 1
    assert_told "disk 'xvda': 'lvconvert' (pid *) did not finish within 60 s and cannot be killed: it hangs in the kernel"
    assert_sound
    assert_nothing_pending
    assert_not_suspended
    [ "$(lvs_now | xargs)" = "a pool" ]
    # 60 s until it is killed, 10 s until it is given up.
    [ "$(labguest gap "$guest" susp)" -lt 90000 ]
    pgrep -f '^lvconvert '
    fsfreeze -u "$frozen"
    until_true 30 eval "! pgrep -f '^lvconvert '"
    assert_monitored
}

@test "a raid1 volume" {
    truncate -s 200M "$disk_dir/pv"
    loops=$(losetup -f --show "$disk_dir/pv")
    modprobe dm-raid
    lv pvcreate -qq -y "$loops"
    lv vgextend -qq "$vg" "$loops"
    lv lvcreate -qq -y -Wn -Zn --type raid1 -m1 -L 64M -n a "$vg"
    blkdiscard -z "/dev/$vg/a"
    guest_on "/dev/$vg/a,raw,xvda,w"
    check_disks
    guest_end
    vg_clear
    lv vgreduce -qq "$vg" "$loops"
    lv pvremove -qq "$loops"
}

@test "a block device that is no logical volume is refused" {
    truncate -s 64M "$disk_dir/plain"
    loops=$(losetup -f --show "$disk_dir/plain")
    guest_on "$loops,raw,xvda,w"
    snap create "$guest" name=new
    assert_status 4
    assert_says "is no LVM logical volume, and nothing here can snapshot another one"
    assert_sound
}

@test "a thin volume under a path that does not follow its name is refused" {
    lv_new thin a
    ln -s "$(readlink -f "/dev/$vg/a")" "$disk_dir/link"
    guest_on "$disk_dir/link,raw,xvda,w"
    snap create "$guest" name=new
    assert_status 4
    assert_says "which does not follow the name '$vg/a'"
    assert_sound
}

@test "a thin volume under a symbolic link to its name goes back" {
    lv_new thin a
    ln -s "../../../../dev/$vg/a" "$disk_dir/link"
    guest_on "$disk_dir/link,raw,xvda,w"
    check_disks
}

@test "a snapshot of a snapshot is refused" {
    lv_new thick a
    lv lvcreate -qq -y -s -L 64M -n s "$vg/a"
    guest_on "/dev/$vg/s,raw,xvda,w"
    snap create "$guest" name=new
    assert_status 4
    assert_says "it is a snapshot, and LVM makes none of those"
    assert_sound
}
