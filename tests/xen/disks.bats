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
    local file=$disk_dir/twice.raw vdev status_was stderr_was

    truncate -s 16M "$file"
    # QEMU for Xen locks nothing.
    for vdev in xvde xvdf; do
        xl block-attach "$guest" \
            "format=raw,vdev=$vdev,access=rw,backendtype=qdisk,target=$file"
    done
    snap create "$guest" name=no -f "disks=['vdev=xvde,snapshot=external']"
    status_was=$status stderr_was=$stderr
    xl block-detach "$guest" xvde
    xl block-detach "$guest" xvdf
    rm "$file"
    status=$status_was stderr=$stderr_was
    assert_refused "disks 'xvde' and 'xvdf' are the same file, '$file'" no
}

@test "a file that is also a disk that takes no part is refused" {
    local file=$disk_dir/twice.raw access status_was stderr_was

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
        status_was=$status stderr_was=$stderr
        xl block-detach "$guest" xvde
        xl block-detach "$guest" xvdf
        status=$status_was stderr=$stderr_was
        assert_refused "disks 'xvde' and 'xvdf' are the same file, '$file'" no
    done
    rm "$file"
}

@test "a disk that is left out is there after a revert, with what was written since" {
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

@test "twenty-six disks, two of them read-only: all at one instant, and back" {
    local letter
    local -a more=({e..z})

    for letter in "${more[@]}"; do
        labguest disk "$disk_dir/$letter.qcow2" 16M
        xl block-attach "$guest" \
            "format=qcow2,vdev=xvd$letter,access=rw,target=$disk_dir/$letter.qcow2"
    done
    snapshot all
    [ "$(vdevs all | wc -w)" = 24 ]
    assert_sound
    for letter in "${more[@]}"; do
        qemu-img snapshot -U -l "$disk_dir/$letter.qcow2" | grep -q ' all '
    done
    snap revert "$guest" name=all
    assert_status 0
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
