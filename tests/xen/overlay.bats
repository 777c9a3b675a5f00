#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Overlays (libvirt's meaning of external) of what QEMU serves: a raw image and
# a VHD. TARGET is the new active file; libxl's stored configuration follows.
# Takes long.

load helpers

setup_file()
{
    export guest disk_dir disk_a disk_b
    guest=overlay
    disk_dir=/var/lib/guests/$guest
    disk_a=$disk_dir/a.raw
    disk_b=$disk_dir/b.vhd
    rm -rf "$disk_dir" "${snapshots:?}/$guest"
    mkdir -p "$disk_dir"
    labguest disk "$disk_dir/empty.qcow2"
    qemu-img convert -O raw "$disk_dir/empty.qcow2" "$disk_a"
    qemu-img convert -O vpc "$disk_dir/empty.qcow2" "$disk_b"
    rm "$disk_dir/empty.qcow2"
    labguest start "$guest" --mem 112 \
        --disk "format=raw,vdev=xvda,access=rw,backendtype=qdisk,no-discard,target=$disk_a" \
        --disk "format=vhd,vdev=xvdb,access=rw,target=$disk_b"
    overlays=$(overlay_disks one)
    export overlays
}

teardown_file()
{
    guest_end
}

# The disks= of a snapshot with both overlays called by this word.
overlay_disks()
{
    echo "disks=['vdev=xvda,snapshot=overlay,target=$disk_dir/a-$1.qcow2','vdev=xvdb,snapshot=overlay,target=$disk_dir/b-$1.qcow2']"
}

# assert_runs_on WORD: libxl and QEMU agree that these are the disks.
assert_runs_on()
{
    local qemu file

    xl list -l "$guest" | jq -e --arg a "$disk_dir/a-$1.qcow2" \
        --arg b "$disk_dir/b-$1.qcow2" '.[0].config.disks |
        .[0].pdev_path == $a and .[1].pdev_path == $b and
        all(.format == "qcow2")' >/dev/null ||
        fail "libxl has other disks: $(xl list -l "$guest" | jq -c '.[0].config.disks')"
    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    for file in "$disk_dir/a-$1.qcow2" "$disk_dir/b-$1.qcow2"; do
        find "/proc/$qemu/fd" -lname "$file" | grep -q . ||
            fail "QEMU does not have $file open"
    done
}

# Whether it notes the backend depends on who has started the domain.
libxl_disks()
{
    xl list -l "$guest" | jq '.[0].config.disks[] | del(.backend)'
}

frozen_sums()
{
    sha256sum "$disk_a" "$disk_b"
}

@test "raw and vhd under QEMU have no internal snapshots" {
    snap create "$guest" name=no --internal
    assert_status 4
    assert_says "only qcow2 images that QEMU serves can hold an internal snapshot"
    assert_sound
}

@test "an overlay needs a target; its format is qcow2" {
    snap create "$guest" name=no "disks=['vdev=xvda,snapshot=overlay']"
    assert_status 2
    assert_says "an overlay needs target="
    snap create "$guest" name=no \
        "disks=['vdev=xvda,snapshot=overlay,format=raw,target=/x']"
    assert_status 4
    assert_says "an overlay is of format qcow2, not raw"
    assert_sound
}

@test "a differencing VHD is refused" {
    # The type in the first footer: 4; 3 is dynamic.
    printf '\4' | dd of="$disk_b" bs=1 seek=63 conv=notrunc,nocreat status=none
    snap create "$guest" name=no "$overlays"
    printf '\3' | dd of="$disk_b" bs=1 seek=63 conv=notrunc,nocreat status=none
    assert_status 4
    assert_says "disk 'xvdb': '$disk_b' is a differencing VHD, of which QEMU does not read what is in the parent"
    assert_sound
}

# told_lines NAME: what snapshot.cfg says the domain's config must have from now on.
told_lines()
{
    sed -n "s/^# Disk '.*' of the domain's own config must from now on be: '\(.*\)'$/\1/p" \
        "$snapshots/$guest/$1/snapshot.cfg"
}

@test "create: TARGET is active, the config follows, and the line is told" {
    snap create "$guest" name=one "$overlays"
    assert_status 0
    assert_sound
    assert_runs_on one
    assert_says "disk 'xvdb' must become 'format=qcow2, vdev=xvdb, access=rw, target=$disk_dir/b-one.qcow2'"
    [ "$(told_lines one | head -n 1)" = "format=qcow2, vdev=xvda, access=rw, no-discard, target=$disk_dir/a-one.qcow2" ]
    frozen_sums >"$BATS_FILE_TMPDIR/sums"
    libxl_disks >"$BATS_FILE_TMPDIR/disks"
}

@test "a reboot stays on the overlays" {
    reboots
    assert_scanned
    assert_runs_on one
}

@test "xl save and restore stay on the overlays" {
    saves_and_restores
    assert_runs_on one
}

@test "revert: fresh overlays; the frozen files are never written" {
    local n

    n=$(newest)
    go_on "$n"
    snap revert "$guest" name=one
    assert_status 0
    assert_scanned
    assert_runs_on one
    assert_back_at "$n"
    frozen_sums | diff - "$BATS_FILE_TMPDIR/sums"
}

@test "revert --keep, and kill -9 in the middle of one" {
    snap revert --keep "$guest" name=one
    assert_status 0
    [ "$(find "$disk_dir" -name "*discarded*" | wc -l)" = 2 ]
    rm "$disk_dir"/*discarded*
    assert_scanned
    run env XLSNAP_FAULT=disk-revert:kill-after "$faulty" revert "$guest" \
        name=one
    assert_status 5
    snap recover
    assert_status 0
    assert_scanned
    assert_runs_on one
    frozen_sums | diff - "$BATS_FILE_TMPDIR/sums"
}

@test "an overlay on the overlay, then back below it" {
    snap create "$guest" name=two "$(overlay_disks two)"
    assert_status 0
    assert_runs_on two
    snap revert "$guest" name=two
    assert_status 0
    assert_scanned
    assert_runs_on two
    # What the first one's overlay is has been frozen by the second.
    snap revert "$guest" name=one
    assert_status 4
    assert_says "disk 'xvda' has become '$disk_dir/a-two.qcow2' since"
    assert_sound
    snap revert -f "$guest" name=one
    assert_status 0
    assert_scanned
    assert_runs_on one
}

@test "the memory image alone restores to the overlays, not the frozen files" {
    guest_end
    xl restore -p "$snapshots/$guest/one/memory.save" 3>&-
    assert_runs_on one
    guest_end
}

@test "xl create with the line that was told runs on the overlays" {
    local line
    local -a args=()

    while read -r line; do
        args+=(--disk "$line")
    done < <(told_lines one)
    [ ${#args[@]} -eq 4 ]
    labguest start "$guest" --mem 112 "${args[@]}"
    assert_scanned
    assert_runs_on one
    # In all else, too, they are the disks that the domain had.
    libxl_disks | diff "$BATS_FILE_TMPDIR/disks" -
    frozen_sums | diff - "$BATS_FILE_TMPDIR/sums"
}
