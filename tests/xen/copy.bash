# SPDX-License-Identifier: LGPL-2.1-or-later
# For the tests of disks that are copied: file systems of each type, in memory,
# so that no disk of the lab is needed. Sets, for a file of tests:
#     disk_dir    its directory, in which everything is
#     fs          where the file system is mounted
# shellcheck shell=bash

# fs_new TYPE SIZE
fs_new()
{
    export guest disk_dir fs
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    fs=$disk_dir/fs
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$fs" "$disk_dir/memory"
    mount -t tmpfs none "$disk_dir/memory"
    truncate -s "$2" "$disk_dir/memory/image"
    "mkfs.$1" -q "$disk_dir/memory/image"
    mount -o loop "$disk_dir/memory/image" "$fs"
}

fs_end()
{
    guest_end
    umount "$fs" "$disk_dir/memory"
    rm -rf "$disk_dir"
}

# raw_by_qemu FILE VDEV: what makes QEMU serve a raw file.
raw_by_qemu()
{
    echo "format=raw,vdev=$2,access=rw,backendtype=qdisk,target=$1"
}
