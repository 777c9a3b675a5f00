# SPDX-License-Identifier: LGPL-2.1-or-later
# For world*.bats: what is done to the world.
# shellcheck shell=bash

# For teardown: also after a test that failed half way.
world_mended()
{
    ! kill -0 "${background:-none}" 2>/dev/null || kill -KILL "$background"
    pkill -CONT -f qemu-system
    pkill -CONT xenstored
    fsfreeze -u "$dir" 2>/dev/null || true
    # Not by mountpoint: what it asks may be dead.
    ! grep -q " $dir " /proc/mounts || umount "$dir" || umount -l "$dir"
    ! dmsetup info "$device" >/dev/null 2>&1 || dmsetup remove --retry "$device"
    ! losetup -j "$image" | grep -q . ||
        losetup -d "$(losetup -n -O NAME -j "$image")" 3>&- 4>&-
    rm -f "$image"
    [ ! -d "$group" ] || rmdir "$group"
    ! mountpoint -q /var/lib/xen || small_state_end
}

dir=/mnt/world
image=/var/lib/guests/world.img
device=world-disk
group=/sys/fs/cgroup/world

# qemu_signal SIGNAL: to the guest's QEMU.
qemu_signal()
{
    local qemu

    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    kill "-$1" "$qemu"
}

# flaky_disk: a file system at $dir, on a device whose behaviour becomes changes.
flaky_disk()
{
    local loop

    mkdir -p "$dir" "$(dirname "$image")"
    truncate -s 400M "$image"
    loop=$(losetup -f --show "$image" 3>&- 4>&-)
    sectors=$(blockdev --getsz "$loop")
    dmsetup create "$device" --table "0 $sectors linear $loop 0"
    mkfs.ext4 -q "/dev/mapper/$device"
    mount "/dev/mapper/$device" "$dir"
    chmod 700 "$dir"
}

# becomes TARGET [ARGUMENTS...]: a target of device mapper
becomes()
{
    local table=${*/LOOP/$(losetup -n -O NAME -j "$image")}

    dmsetup suspend --noflush --nolockfs "$device"
    dmsetup load "$device" --table "0 $sectors $table"
    dmsetup resume "$device"
}

# small_state: what is kept of domains is on a file system of its own, and small. The
# guest is to be started, and ended, in it.
small_state()
{
    mkdir -p /var/lib/xen/snapshots /run/snapshots
    mount --bind /var/lib/xen/snapshots /run/snapshots
    mount -t tmpfs -o size=4m,mode=755 small-state /var/lib/xen
    mkdir /var/lib/xen/snapshots
    mount --bind /run/snapshots /var/lib/xen/snapshots
}

small_state_end()
{
    umount /var/lib/xen/snapshots
    umount /var/lib/xen
    umount /run/snapshots
}
