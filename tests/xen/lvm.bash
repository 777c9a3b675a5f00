# SPDX-License-Identifier: LGPL-2.1-or-later
# For *lvm*.bats: a volume group on the lab's first extra disk (--extra-disk 2G)
# or, without one, in a file; and guests on its volumes. The names have hyphens,
# which device mapper doubles.
# shellcheck shell=bash

vg=lab-vg
vg_file=/var/lib/guests/lab-vg.pv
lock_file=/run/lock/lvm/V_$vg

# vg_setup: the VG with a thin pool, empty.
vg_setup()
{
    local disk=/dev/vdb

    modprobe -a dm-snapshot dm-thin-pool
    if ! lv vgs "$vg" >/dev/null 2>&1; then
        if [ ! -b "$disk" ]; then
            truncate -s 2G "$vg_file"
            disk=$(losetup -f --show "$vg_file")
        fi
        lv pvcreate -qq -y "$disk"
        lv vgcreate -qq "$vg" "$disk"
        lv lvcreate -qq -y -Wn -L 600M -T "$vg/pool"
    fi
    vg_clear
}

# All volumes but the pool.
vg_clear()
{
    lv lvs --noheadings -o lv_full_name,lv_layout "$vg" |
        awk '$2 !~ /pool/ { print $1 }' | xargs -r lvremove -qq -f -y 3>&- 4>&-
}

# lv_new thick|thin NAME [MB]: zeroed, as the oracle wants it.
lv_new()
{
    if [ "$1" = thin ]; then
        lv lvcreate -qq -y -Wn -V "${3-64}M" -T "$vg/pool" -n "$2"
    else
        lv lvcreate -qq -y -Wn -L "${3-64}M" -n "$2" "$vg"
        blkdiscard -z "/dev/$vg/$2"
    fi
}

# guest_none: no guest of this file, no snapshots, no files of it.
guest_none()
{
    export guest disk_dir
    guest=$(basename "$BATS_TEST_FILENAME" .bats)
    disk_dir=/var/lib/guests/$guest
    guest_end
    rm -rf "${snapshots:?}/$guest" "${pending:?}"/*.json "$disk_dir"
    mkdir -p "$disk_dir"
}

# guest_on DISKSPEC...: the guest of this file, started on these disks.
guest_on()
{
    local disk
    local -a args=()

    for disk; do
        args+=(--disk "$disk")
    done
    labguest cfg "$guest" --mem 112 "${args[@]}" "${guest_options[@]}"
    labguest start "$guest"
}
guest_options=()

# Names of the VG's visible volumes, a line each.
lvs_now()
{
    lv lvs --noheadings -o lv_name "$vg" | awk '{ print $1 }' | sort
}

# lv_says FIELD NAME
lv_says()
{
    lv lvs --noheadings -o "$1" "$vg/$2" | xargs
}

lv_exists()
{
    lv lvs "$vg/$1" >/dev/null 2>&1
}
