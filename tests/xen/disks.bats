#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which disks take part: not those that the guest cannot write to; none twice;
# and as many as there are. Xen's QEMU serves PV guests neither an image
# read-only ("Block node is read-only") nor an empty CD-ROM, so these are raw
# files on blkback here; unit tests have the other kinds.
# Takes long.

load helpers

setup_file()
{
    mkdir -p /var/lib/guests
    truncate -s 4M /var/lib/guests/disks.ro /var/lib/guests/disks.iso
    guest_new --disk /var/lib/guests/disks.ro,raw,xvdc,r \
        --disk /var/lib/guests/disks.iso,raw,xvdd,cdrom
}

teardown_file()
{
    guest_end
    rm -f /var/lib/guests/disks.ro /var/lib/guests/disks.iso
}

setup()
{
    guest_fresh
}

# vdevs: what snapshot.cfg says, a line.
vdevs()
{
    grep -o 'vdev=[a-z]*' "$snapshots/$guest/$1/snapshot.cfg" |
        sed 's/vdev=//' | xargs
}

assert_no_tag_in()
{
    [ "$(qemu-img info -U --output=json "$1" | jq '.snapshots // [] | length')" = 0 ]
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    assert_sound
    assert_no_trace "$2"
}

@test "read-only disks and CD-ROMs are left out, and are there after a revert" {
    snapshot some
    [ "$(vdevs some)" = "xvda xvdb" ]
    snap revert "$guest" name=some
    assert_status 0
    assert_scanned
    [ "$(xl block-list "$guest" | grep -c ^51)" = 4 ]
}

@test "a read-only disk or a CD-ROM that is asked for is refused" {
    snap create "$guest" name=no "disks=['vdev=xvdc,snapshot=external']"
    assert_refused "domain '$guest' has no writable disk 'xvdc'" no
    snap create "$guest" name=no "disks=['vdev=xvdd']"
    assert_refused "domain '$guest' has no writable disk 'xvdd'" no
}

@test "a file that two disks are on is refused" {
    local file=$disk_dir/twice.raw vdev

    truncate -s 16M "$file"
    # QEMU for Xen locks nothing.
    for vdev in xvde xvdf; do
        xl block-attach "$guest" \
            "format=raw,vdev=$vdev,access=rw,backendtype=qdisk,target=$file"
    done
    snap create "$guest" name=no -f "disks=['vdev=xvde,snapshot=external']"
    xl block-detach "$guest" xvde
    xl block-detach "$guest" xvdf
    rm "$file"
    assert_refused "disks 'xvde' and 'xvdf' are the same file, '$file'" no
}

@test "a file that is another disk's base, or that QEMU has open for more, is refused" {
    local base=$disk_dir/base.qcow2 top=$disk_dir/top.qcow2

    qemu-img create -q -f qcow2 "$base" 16M
    qemu-img create -q -f qcow2 -b "$base" -F qcow2 "$top"
    xl block-attach "$guest" "format=qcow2,vdev=xvde,access=rw,target=$base"
    snapshot alone -f "disks=['vdev=xvde']"
    rm -r "$snapshots/$guest/alone"
    xl block-attach "$guest" "format=qcow2,vdev=xvdf,access=rw,target=$top"
    snap create "$guest" name=no -f "disks=['vdev=xvde']"
    xl block-detach "$guest" xvdf
    assert_refused "disk 'xvde': QEMU (pid " no
    assert_says "has '$base' open more than once: below another disk, or "
    xl qemu-monitor-command "$guest" \
        "drive_add 0 if=none,id=other,format=qcow2,readonly=on,file.locking=off,file=$base"
    snap create "$guest" name=no -f "disks=['vdev=xvde']"
    xl qemu-monitor-command "$guest" "drive_del other"
    assert_refused "open more than once" no
    xl block-detach "$guest" xvde
    rm "$base" "$top"
}

@test "a file that is also a disk that takes no part is refused" {
    local file=$disk_dir/twice.raw access

    truncate -s 16M "$file"
    for access in rw ro; do
        xl block-attach "$guest" \
            "format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=$file"
        xl block-attach "$guest" "format=raw,vdev=xvdf,access=$access,target=$file"
        snap create "$guest" name=no -f \
            "disks=['vdev=xvde,snapshot=external', 'vdev=xvdf,snapshot=no']"
        # Of one that cannot be written nothing can be asked for.
        [ "$access" = rw ] || snap create "$guest" name=no -f \
            "disks=['vdev=xvde,snapshot=external']"
        xl block-detach "$guest" xvde
        xl block-detach "$guest" xvdf
        assert_refused "disks 'xvde' and 'xvdf' are the same file, '$file'" no
    done
    rm "$file"
}

@test "a disk that is left out is there after a revert" {
    snap create "$guest" name=partly -f "disks=['vdev=xvdb,snapshot=no']"
    assert_status 0
    [ "$(vdevs partly)" = "xvda xvdb" ]
    assert_no_tag_in "$disk_b"
    snap revert "$guest" name=partly
    assert_status 0
    [ "$(xl block-list "$guest" | grep -c ^51)" = 4 ]
    # Memory and this disk disagree, as the manual says.
    guest_end
}

# Only what QEMU and libxl say of a file counts.
@test "files whose names lie about what is in them" {
    local raw=$disk_dir/b.qcow2 qcow2=$disk_dir/a.vhd number

    guest_end
    rm "$disk_a" "$disk_b"
    labguest disk "$disk_dir/x.qcow2"
    mv "$disk_dir/x.qcow2" "$qcow2"
    truncate -s 64M "$raw"
    labguest cfg "$guest" --mem 112 --disk "$qcow2,qcow2,xvda,w" \
        --disk "format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target=$raw"
    labguest start "$guest"
    snap create "$guest" name=no --internal
    assert_status 4
    assert_says "disk 'xvdb' ('$raw', format raw, backend qdisk): only qcow2 images"
    snapshot lies "disks=['vdev=xvdb,snapshot=overlay,target=$disk_dir/b.raw']"
    number=$(newest)
    qemu-img snapshot -U -l "$qcow2" | grep -q ' lies '
    [ "$(qemu-img info -U --output=json "$disk_dir/b.raw" |
        jq -r '."backing-filename-format"')" = raw ]
    go_on "$number"
    snap revert "$guest" name=lies
    assert_status 0
    assert_back_at "$number"
    assert_scanned
}

@test "twenty-six disks, two of them read-only: all at one instant, and back" {
    local letter number
    local -a args=(--disk "/var/lib/guests/disks.ro,raw,xvdc,r"
        --disk "/var/lib/guests/disks.iso,raw,xvdd,cdrom")

    guest_end
    for letter in a b {e..z}; do
        rm -f "$disk_dir/$letter.qcow2"
        labguest disk "$disk_dir/$letter.qcow2" 16M
        args+=(--disk "$disk_dir/$letter.qcow2,qcow2,xvd$letter,w")
    done
    labguest cfg "$guest" --mem 160 --slots 128 "${args[@]}"
    labguest start "$guest"
    snapshot all
    [ "$(vdevs all | wc -w)" = 24 ]
    assert_sound
    number=$(newest)
    for letter in a b {e..z}; do
        qemu-img snapshot -U -l "$disk_dir/$letter.qcow2" | grep -q ' all '
    done
    go_on "$number"
    snap revert "$guest" name=all
    assert_status 0
    assert_back_at "$number"
    assert_scanned
    snapshot all-external --external -f
    [ "$(find "$disk_dir" -name '*-all-external.qcow2' | wc -l)" = 24 ]
    assert_sound
    snap revert "$guest" name=all-external
    assert_status 0
    assert_scanned
    assert_monitored
    # The tags are in the frozen files.
    snap revert "$guest" name=all
    assert_status 4
    assert_says "'$disk_a' has no snapshot named 'all'; it may be in what is below it, 'a-all-external.qcow2'"
    assert_scanned
}
