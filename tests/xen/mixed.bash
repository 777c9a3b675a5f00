# SPDX-License-Identifier: LGPL-2.1-or-later
# A guest with a disk of every kind that has a driver of its own:
#     xvda  qcow2: external
#     xvdb  qcow2: internal
#     xvdc  a thick logical volume, on blkback
#     xvdd  a thin one, served by QEMU (with three disks on blkback the hotplug
#           scripts, one at a time, can exceed libxl's 40 s in an emulated host)
#     xvde  a raw file behind a loop device, on XFS: reflink
# Volume group and file system are in files, so that no disk is needed.
# shellcheck shell=bash

mixed_new()
{
    export guest disk_dir disk_a disk_b vg
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    disk_a=$disk_dir/a.qcow2
    disk_b=$disk_dir/b.qcow2
    vg=vg_${guest//-/_}
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$disk_dir/xfs"
    mixed_storage 3>&- 4>&- >/dev/null
    labguest disk "$disk_a"
    labguest disk "$disk_b"
    truncate -s 64M "$disk_dir/xfs/e.raw"
    labguest start "$guest" --mem 112 \
        --disk "$disk_a,qcow2,xvda,w" --disk "$disk_b,qcow2,xvdb,w" \
        --disk "/dev/$vg/thick,raw,xvdc,w" --disk "/dev/$vg/thin,raw,xvdd,w,backendtype=qdisk" \
        --disk "$disk_dir/xfs/e.raw,raw,xvde,w" "$@"
}

mixed_storage()
{
    local store=/var/lib/guests/store-$guest loop

    modprobe -a dm_snapshot dm_thin_pool
    mkdir -p "$store"
    truncate -s 1G "$store/xfs.img" "$store/pv.img"
    mkfs.xfs -q -f "$store/xfs.img"
    mount -o loop "$store/xfs.img" "$disk_dir/xfs"
    loop=$(losetup -f --show "$store/pv.img")
    vgcreate -qq "$vg" "$loop"
    lvcreate -qq -y -Wn -L 64M -n thick "$vg"
    lvcreate -qq -y -Wn -L 200M -T "$vg/pool" -V 64M -n thin
}

mixed_end()
{
    local store=/var/lib/guests/store-$guest loop

    guest_end
    assert_vg_whole
    umount "$disk_dir/xfs"
    loop=$(losetup -n -O NAME -j "$store/pv.img")
    {
        vgremove -qq -f -y "$vg"
        losetup -d "$loop"
    } 3>&- 4>&-
    rm -rf "$store" "$disk_dir"
}

# The disks= of a snapshot, one method for each.
mixed_disks="disks=[ 'vdev=xvda,snapshot=external', ',,xvdb' ]"
