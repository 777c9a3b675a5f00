#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# External snapshots of qcow2 images under a stable path: the disk's name stays
# with what the guest writes to, the oracle writing all the while.
# Takes minutes.

load helpers

setup_file()
{
    guest_new
    snap create "$guest" name=gold --external
    gold_made
}

teardown_file()
{
    guest_end
}

chain()
{
    qemu-img info -U --output=json --backing-chain "$1" |
        jq -r '.[].filename | sub(".*/"; "")' | tr '\n' ' '
}

assert_chain()
{
    [ "$(chain "$1")" = "$2 " ] || fail "the chain of $1 is: $(chain "$1")"
}

assert_refused()
{
    assert_status 4
    assert_says "$1"
    assert_sound
    assert_nothing_pending
}

@test "the frozen file is TARGET, the disk's path is the guest's still" {
    assert_chain "$disk_a" "a.qcow2 a-gold.qcow2"
    assert_chain "$disk_b" "b.qcow2 b-gold.qcow2"
    xl list -l "$guest" | jq -e --arg p "$disk_a" \
        '.[0].config.disks[0] | .pdev_path == $p and .format == "qcow2"'
    assert_sound
    assert_nothing_pending
    assert_monitored
    grep -q "target=$disk_dir/a-gold.qcow2,source=$disk_a" \
        "$snapshots/$guest/gold/snapshot.cfg"
    grep -qF "# Disk 'xvda': '$disk_a' depends on '$disk_dir/a-gold.qcow2'." \
        "$snapshots/$guest/gold/snapshot.cfg"
    # The overlay names its base so that the directory can be moved.
    [ "$(qemu-img info -U --output=json "$disk_a" |
        jq -r '."backing-filename"')" = a-gold.qcow2 ]
}

@test "QEMU has exactly these files open, and nothing is left beside them" {
    assert_open a.qcow2 a-gold.qcow2 b.qcow2 b-gold.qcow2
    [ "$(find "$disk_dir" -mindepth 1 -printf "%f\n" | sort | tr "\n" " ")" = \
        "a-gold.qcow2 a.qcow2 b-gold.qcow2 b.qcow2 " ]
}

# bats test_tags=long
@test "revert, and again: the frozen files are never written" {
    local before

    before=$(sha256sum "$disk_dir"/*-gold*)
    go_on
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    go_on
    snap revert "$snapshots/$guest/gold/snapshot.cfg"
    assert_status 0
    assert_back_at_gold
    assert_scanned
    assert_chain "$disk_a" "a.qcow2 a-gold.qcow2"
    [ "$(sha256sum "$disk_dir"/*-gold*)" = "$before" ]
    assert_monitored
}

@test "after it a reboot runs on the right image" {
    go_on
    reboots
    assert_scanned
    assert_open a.qcow2 a-gold.qcow2 b.qcow2 b-gold.qcow2
}

# bats test_tags=long
@test "and a snapshot of the restarted domain, whose QEMU opened the chain" {
    local before

    snapshot restarted --external
    assert_chain "$disk_a" "a.qcow2 a-restarted.qcow2 a-gold.qcow2"
    before=$(newest)
    go_on "$before"
    snap revert "$guest" name=restarted
    assert_status 0
    assert_back_at "$before"
    assert_scanned
}

# bats test_tags=long
@test "xl save, xl restore: on the right image" {
    saves_and_restores
    assert_chain "$disk_a" "a.qcow2 a-restarted.qcow2 a-gold.qcow2"
}

# bats test_tags=long
@test "xl shutdown, xl create with the unchanged config: on the right image" {
    restarts
    assert_open a.qcow2 a-restarted.qcow2 a-gold.qcow2 \
        b.qcow2 b-restarted.qcow2 b-gold.qcow2
    # A new uuid, the same disks: it is still the snapshot's domain.
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_scanned
}

# Of one that runs its configuration tells on which file it is.
# bats test_tags=long
@test "a later snapshot has put an overlay on the disk of a domain that does not run" {
    local sum

    snapshot later "disks=[ 'vdev=xvda,snapshot=overlay,target=$disk_dir/far.ovl',
        'vdev=xvdb,snapshot=internal' ]" -f
    guest_end
    sum=$(sha256sum "$disk_dir"/*)
    snap revert "$guest" name=gold
    assert_status 4
    assert_says "disk 'xvda': '$disk_a' is what '$disk_dir/far.ovl' was put upon"
    assert_nothing_pending
    [ "$(sha256sum "$disk_dir"/*)" = "$sum" ]
    snap revert -f "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_scanned
    # What carries the tag of "later" is kept.
    rm -r "$disk_dir"/b.qcow2-discarded-* "$disk_dir/far.ovl" \
        "$snapshots/$guest/later"
}

# Nobody has its disks open for some seconds; who merges then may not be done when
# somebody has.
# bats test_tags=long
@test "recover while the guest reboots waits for its QEMU, and merges there" {
    local id number

    program qemu-img <<END
[ "\$1" != commit ] || touch "$BATS_TEST_TMPDIR/merged-offline"
exec /usr/bin/qemu-img "\$@"
END
    run env XLSNAP_FAULT=durable:kill-after "$faulty" create "$guest" name=try \
        "disks=[ 'vdev=xvda,snapshot=external',
            'vdev=xvdb,snapshot=overlay,target=$disk_dir/b.ovl' ]"
    assert_status 5
    until_true 60 no_guard
    id=$(domid)
    number=$(newest)
    labguest tell "$guest" reboot
    until_true 60 eval "guest_is_gone || guest_shut_down"
    snap_with_fakes recover "$guest"
    assert_status 0
    [ ! -e "$BATS_TEST_TMPDIR/merged-offline" ]
    labguest ready "$guest" 180
    [ "$(domid)" != "$id" ]
    assert_no_trace try
    assert_names_served
    [ ! -e "$disk_dir/b.ovl" ]
    assert_scanned
    assert_not_back "$number"
    assert_chain "$disk_a" "a.qcow2 a-gold.qcow2"
    reboots
}

# bats test_tags=long
@test "a create that was cut off is abandoned: the disks are what they are, and work" {
    run env XLSNAP_FAULT=durable:kill-after "$faulty" create "$guest" name=try --external
    assert_status 5
    until_true 60 no_guard
    snap recover --abandon "$guest"
    assert_status 0
    assert_nothing_pending
    assert_names_served
    assert_sound
    assert_monitored
    assert_chain "$disk_a" "a.qcow2 a-try.qcow2 a-gold.qcow2"
    assert_chain "$disk_b" "b.qcow2 b-try.qcow2 b-gold.qcow2"
    reboots
    assert_scanned
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    rm -r "$snapshots/$guest/try" "$disk_dir"/?-try.qcow2
}

@test "a disk that is attached meanwhile: it fails, and all is undone" {
    labguest disk "$disk_dir/c.qcow2"
    create_fails_while xl block-attach "$guest" \
        "format=qcow2,vdev=xvdc,access=rw,target=$disk_dir/c.qcow2"
    assert_says "(from nothing to vbd/51744="
    xl block-detach "$guest" xvdc
    rm "$disk_dir/c.qcow2"
}

# What is in memory then would not fit what is restored.
# bats test_tags=long
@test "xl mem-set meanwhile: it fails, and all is undone" {
    create_fails_while xl mem-set "$guest" 108
    assert_says "(from memory=114688 to memory=110592)"
    xl mem-set "$guest" 112
}

# bats test_tags=long
@test "revert when the domain is not running" {
    reverts_when_not_running
    assert_scanned
    assert_chain "$disk_a" "a.qcow2 a-gold.qcow2"
}

# bats test_tags=long
@test "ten snapshots in a chain, back to the third and the tenth" {
    local round n=() # not i: bats's run changes that one

    for round in {1..10}; do
        snapshot "s$round" --external
        n[round]=$(newest)
    done
    assert_sound
    [ "$(chain "$disk_a" | wc -w)" = 12 ]
    go_on "${n[10]}"
    snap revert "$guest" name=s3
    assert_status 0
    assert_back_at "${n[3]}" "${n[2]}"
    assert_scanned
    snap revert "$guest" name=s10
    assert_status 0
    assert_up_at "${n[10]}" "${n[9]}"
    assert_scanned
    [ "$(chain "$disk_a" | wc -w)" = 12 ]
    snap revert "$guest" name=gold
    assert_status 0
    rm -r "${snapshots:?}/$guest"/s* "$disk_dir"/*-s[0-9]*
    assert_scanned
}

# bats test_tags=long
@test "external and internal in one domain, at one instant" {
    cat >"$BATS_TEST_TMPDIR/mixed.cfg" <<EOF
domain = "$guest"
name = "mixed"
disks = [ "vdev=xvda,snapshot=external,target=a-frozen.qcow2", ",,xvdb" ]
EOF
    snap create "$BATS_TEST_TMPDIR/mixed.cfg"
    assert_status 0
    assert_chain "$disk_a" "a.qcow2 a-frozen.qcow2 a-gold.qcow2"
    assert_chain "$disk_b" "b.qcow2 b-gold.qcow2"
    go_on "$(newest)"
    snap revert "$BATS_TEST_TMPDIR/mixed.cfg"
    assert_status 0
    assert_scanned
    # Another external snapshot would take the tag of xvdb out of reach.
    snap create "$guest" name=refused --external
    assert_refused "disk 'xvdb': '$disk_b' holds internal snapshots"
    snap create "$guest" name=forced --external -f
    assert_status 0
    assert_chain "$disk_b" "b.qcow2 b-forced.qcow2 b-gold.qcow2"
    snap revert "$guest" name=mixed
    assert_status 4
    assert_says "has no snapshot named 'mixed'"
    snap revert "$guest" name=forced
    assert_status 0
    assert_scanned
}

# bats test_tags=long
@test "a disk's file that carries internal snapshots is kept by a revert" {
    snap revert "$guest" name=gold
    assert_status 0
    snapshot tagged --internal
    snap revert "$guest" name=gold
    assert_status 0
    [ "$(find "$disk_dir" -name "a.qcow2-discarded-*" | wc -l)" = 1 ]
    qemu-img snapshot -U -l "$disk_dir"/a.qcow2-discarded-* | grep -q tagged
    rm "$disk_dir"/*-discarded-*
    assert_scanned
}

@test "--keep: what is given up stays as a file" {
    local frozen

    snap revert --keep "$guest" name=gold
    assert_status 0
    frozen=$(ls "$disk_dir"/a.qcow2-discarded-*)
    qemu-img check -q -U "$frozen"
    [ "$(qemu-img info --output=json "$frozen" |
        jq -r '."backing-filename"')" = a-gold.qcow2 ]
    rm "$disk_dir"/*-discarded-*
    assert_scanned
}

# attributes FILE: owner, mode and SELinux's context.
attributes()
{
    stat -c '%u:%g %a' "$1"
    python3 -c "import os; print(os.getxattr('$1', 'security.selinux').decode())"
}

@test "the overlay has the disk's owner, mode and SELinux context" {
    local context=system_u:object_r:xen_image_t:s0 want

    chown 1234:4321 "$disk_a"
    chmod 640 "$disk_a"
    python3 -c "import os; os.setxattr('$disk_a', 'security.selinux', b'$context')"
    want="1234:4321 640
$context"
    snapshot owned --external
    [ "$(attributes "$disk_a")" = "$want" ]
    [ "$(attributes "$disk_dir/a-owned.qcow2")" = "$want" ]
    snap revert "$guest" name=owned
    assert_status 0
    [ "$(attributes "$disk_a")" = "$want" ]
    assert_sound
}

# bats test_tags=long
@test "a target in another directory; on another file system: refused" {
    local extra=$disk_dir/extra.qcow2

    mkdir -p "$disk_dir/frozen"
    labguest disk "$extra"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$extra"
    snap create "$guest" name=elsewhere --external \
        "disks=['vdev=xvdc,target=$disk_dir/frozen/x.qcow2,snapshot=external']"
    assert_status 0
    [ "$(qemu-img info -U --output=json "$extra" |
        jq -r '."backing-filename"')" = "$disk_dir/frozen/x.qcow2" ]
    snap revert "$guest" name=elsewhere
    assert_status 0
    assert_scanned
    assert_chain "$extra" "extra.qcow2 x.qcow2"
    xl block-detach "$guest" xvdc
    snap create "$guest" name=far \
        "disks=['vdev=xvdb,target=/run/b.qcow2,snapshot=external']"
    assert_refused "disk 'xvdb': target '/run/b.qcow2' is on another file system"
    # The same one, but no file there can get a second name here.
    mount --bind "$disk_dir/frozen" /mnt
    snap create "$guest" name=far \
        "disks=['vdev=xvdb,target=/mnt/b.qcow2,snapshot=external']"
    umount /mnt
    assert_refused "disk 'xvdb': '/mnt' is mounted otherwise than '$disk_b'"
}

@test "a file system without room for the overlay is refused" {
    local small=$disk_dir/small

    mkdir "$small"
    mount -t tmpfs -o size=20M none "$small"
    labguest disk "$small/x.qcow2" 16M
    fallocate -l "$(df --output=avail -B1 "$small" | tail -n 1)" "$small/ballast"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$small/x.qcow2"
    snap create "$guest" name=full --external
    xl block-detach "$guest" xvdc
    until_true 20 umount "$small"
    rmdir "$small"
    assert_refused "disk 'xvdc': the file system of '$small/x.qcow2' is full: a fresh overlay needs 4 MiB"
}

@test "a disk that somebody else may write to is refused" {
    local loop

    snap_while_open "$disk_a" create "$guest" name=no
    assert_refused "disk 'xvda' ('$disk_a') can be written by process $$, too"
    snap_while_looped "$disk_b" create "$guest" name=no
    assert_refused "disk 'xvdb' ('$disk_b') is in use as $loop"
}

@test "a relative backing file and a target in another directory: refused" {
    mkdir -p "$disk_dir/frozen"
    snap create "$guest" name=far \
        "disks=['vdev=xvdb,target=$disk_dir/frozen/b.qcow2,snapshot=external']"
    assert_refused "disk 'xvdb': '$disk_b' has the backing file 'b-"
    assert_says "relative to its own directory, so the target must be in that directory, too"
}

@test "a target that exists, two disks with one, a directory that is missing" {
    touch "$disk_dir/there"
    snap create "$guest" name=x \
        "disks=['vdev=xvdb,target=there,snapshot=external']"
    assert_refused "target '$disk_dir/there' exists already"
    [ ! -s "$disk_dir/there" ]
    rm "$disk_dir/there"
    snap create "$guest" name=x \
        "disks=['vdev=xvda,target=t,snapshot=external','vdev=xvdb,target=t,snapshot=external']"
    assert_refused "target '$disk_dir/t' is disk 'xv"
    snap create "$guest" name=x \
        "disks=['vdev=xvdb,target=/no/such/dir,snapshot=external']"
    assert_refused "target '/no/such/dir': No such file or directory"
}

@test "a revert to a frozen file that is gone is refused before the destroy" {
    local id

    id=$(domid)
    snapshot lost --external
    mv "$disk_dir/b-lost.qcow2" "$disk_dir/hidden"
    snap revert "$guest" name=lost
    assert_refused "disk 'xvdb': "
    [ "$(domid)" = "$id" ]
    mv "$disk_dir/hidden" "$disk_dir/b-lost.qcow2"
    snap revert "$guest" name=lost
    assert_status 0
    assert_scanned
}

# bats test_tags=long
@test "what an undo has merged in a QEMU that was started since can be snapshotted again" {
    run env XLSNAP_FAULT=durable:killall-after "$faulty" create "$guest" \
        name=undone --external
    assert_status 5
    guest_end
    # Its QEMU opens the overlay, and what is below by that.
    labguest start "$guest"
    snap recover "$guest"
    assert_status 0
    assert_no_trace undone
    run ! grep -q undone < <(chain "$disk_a" && chain "$disk_b")
    assert_scanned
    # The image that was below has no name of its own in QEMU.
    xl qemu-monitor-command "$guest" "info block" | grep '^#block'
    snapshot internal
    snapshot external --external -f
    assert_scanned
    snap revert "$guest" name=external
    assert_status 0
    assert_scanned
}

# bats test_tags=long
@test "a disk can be detached and attached again after it was snapshotted" {
    local extra=$disk_dir/spare.qcow2 qemu

    labguest disk "$extra"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$extra"
    snapshot attached --external
    snapshot attached2 --external
    assert_chain "$extra" \
        "spare.qcow2 spare-attached2.qcow2 spare-attached.qcow2"
    xl block-detach "$guest" xvdc
    qemu=$(xenstore-read "/local/domain/$(domid)/image/device-model-pid")
    until_true 20 eval "! find /proc/$qemu/fd -lname '*/spare*' | grep -q ." ||
        fail "QEMU holds files of the detached disk: $(ls -l "/proc/$qemu/fd")"
    xl block-attach "$guest" "format=qcow2,vdev=xvdc,access=rw,target=$extra"
    assert_names_served
    snapshot attached3 --external
    assert_chain "$extra" "spare.qcow2 spare-attached3.qcow2 \
spare-attached2.qcow2 spare-attached.qcow2"
    xl block-detach "$guest" xvdc
    assert_sound
}

# bats test_tags=long
@test "a disk whose path is a symlink: the link stays, the file moves" {
    local far=/var/lib/guests/$guest-far

    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    mkdir -p "$far"
    qemu-img convert -O qcow2 "$disk_a" "$far/real.qcow2"
    rm "$disk_a"
    ln -s "$far/real.qcow2" "$disk_a"
    labguest start "$guest"
    snapshot linked --external
    [ "$(readlink "$disk_a")" = "$far/real.qcow2" ]
    assert_chain "$far/real.qcow2" "real.qcow2 real-linked.qcow2"
    go_on "$(newest)"
    snap revert "$guest" name=linked
    assert_status 0
    assert_scanned
    [ "$(readlink "$disk_a")" = "$far/real.qcow2" ]
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    labguest start "$guest"
    assert_scanned
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    rm "$disk_a"
    qemu-img convert -O qcow2 "$far/real.qcow2" "$disk_a"
    rm -r "$far"
    labguest start "$guest"
}

@test "the directory can be moved: all names in it are relative" {
    snapshot moving --external
    labguest tell "$guest" poweroff
    until_true 180 guest_is_gone
    mv "$disk_dir" "$disk_dir-moved"
    qemu-img check -q "$disk_dir-moved/a.qcow2"
    qemu-img check -q "$disk_dir-moved/b.qcow2"
    mv "$disk_dir-moved" "$disk_dir"
    labguest start "$guest"
    assert_scanned
}
