#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Domains that cannot be snapshotted as they are: each refused with its reason, and
# not touched; what comes after that works.

load helpers

setup_file()
{
    guest_new --cfg 'on_crash="preserve"'
    snapshot gold
    gold_made
}

teardown_file()
{
    guest_end
}

# refused WHY: and it runs on, soundly.
refused()
{
    snap create "$guest" name=no
    assert_status 4
    assert_says "cannot snapshot domain '$guest': $1"
    assert_no_trace no
}

# userdata KIND: libxl's file with what it knows of the domain.
userdata()
{
    echo "/var/lib/xen/userdata-d.$(domid).$(xl vm-list |
        awk -v id="$(domid)" '$2 == id { print $1 }').$1"
}

# with_config JQ: as if the domain had been configured so.
with_config()
{
    local file

    file=$(userdata libxl-json)
    cp -p "$file" "$BATS_TEST_TMPDIR/json"
    { tr -d '\0' <"$BATS_TEST_TMPDIR/json" | jq -c "$1" && printf '\0'; } >"$file"
}

as_configured()
{
    cp -p "$BATS_TEST_TMPDIR/json" "$(userdata libxl-json)"
}

@test "locked up QEMU, driver domains, virtual NUMA nodes" {
    with_config '.b_info.dm_restrict = "True"'
    refused 'its QEMU is locked up (dm_restrict)'
    as_configured
    with_config '.c_info.driver_domain = "True"'
    refused 'it is a driver domain'
    as_configured
    with_config '.b_info.vnuma_nodes = [ { "memkb": 1024 } ]'
    refused 'it has vNUMA nodes'
    as_configured
    assert_sound
}

# device KIND [KEY=VALUE...]: libxl finds such a one of the domain's in xenstore.
device()
{
    local id pair back

    id=$(domid)
    back=/local/domain/0/backend/$1/$id/0
    xenstore-write "/libxl/$id/device/$1/0/backend" "$back" \
        "/libxl/$id/device/$1/0/frontend" "/local/domain/$id/device/$1/0" \
        "$back/frontend-id" "$id"
    for pair in "${@:2}"; do
        xenstore-write "$back/${pair%%=*}" "${pair#*=}"
    done
}

no_device()
{
    xenstore-rm "/libxl/$(domid)/device/$1"
    xenstore-rm "/local/domain/0/backend/$1"
}

# bats test_tags=long
@test "a vTPM, PCI and USB devices passed through" {
    with_config '.vtpms = [ { "devid": 0,
        "uuid": "5a8097a1-b7f7-4ae6-b609-57c12b568771" } ]'
    device vtpm uuid=5a8097a1-b7f7-4ae6-b609-57c12b568771
    refused 'it has a vTPM, whose state is kept by another domain'
    no_device vtpm
    as_configured
    with_config '.pcidevs = [ { "func": 0, "dev": 3, "bus": 0, "domain": 0 } ]'
    device pci num_devs=1 dev-0=0000:00:03.0
    refused 'it has PCI devices passed through, and their state cannot be saved'
    no_device pci
    as_configured
    with_config '.usbctrls = [ { "devid": 0, "type": "pv", "version": 2, "ports": 8 } ]'
    device vusb usb-ver=2 num-ports=8
    xenstore-write "/libxl/$(domid)/device/vusb/0/type" pv
    refused 'it has USB devices passed through, and their state cannot be saved'
    no_device vusb
    as_configured
    assert_sound
}

# Paused, so that it cannot obey.
@test "a guest that has not given back what xl mem-set wants" {
    local node target

    node=/local/domain/$(domid)/memory/target
    target=$(xenstore-read "$node")
    xl pause "$guest"
    xenstore-write "$node" $((target - 4096))
    refused "its guest has more memory than 'xl mem-set' lets it have"
    xenstore-write "$node" "$target"
    refused 'it is paused'
    xl unpause "$guest"
    assert_sound
}

@test "directories and sockets of the host, a hypervisor" {
    with_config '.p9s = [ { "devid": 0, "tag": "t", "path": "/srv", "security_model": "none" } ]'
    device 9pfs tag=t path=/srv security_model=none
    refused 'it shares a directory of the host (9pfs)'
    no_device 9pfs
    as_configured
    with_config '.pvcallsifs = [ { "devid": 0 } ]'
    refused 'it has PV Calls sockets'
    as_configured
    with_config '.b_info.nested_hvm = "True"'
    refused 'it may be a hypervisor itself (nestedhvm)'
    snap create -f -n "$guest" name=no
    assert_status 0
    as_configured
    assert_sound
}

@test "stub domains" {
    local node

    node=/local/domain/$(domid)
    xenstore-write "$node/image/device-model-domid" 77
    refused 'its QEMU runs in a stub domain'
    xenstore-rm "$node/image/device-model-domid"
    xenstore-write "$node/target" 0
    refused 'it is the stub domain of another one'
    xenstore-rm "$node/target"
    assert_sound
}

@test "a guest that says that it cannot suspend" {
    local node

    node=/local/domain/$(domid)/control/feature-suspend
    before=$(xenstore-read "$node")
    xenstore-write "$node" 0
    refused 'its guest says that it cannot suspend (feature-suspend=0)'
    xenstore-write "$node" "$before"
    assert_sound
}

@test "one that is being migrated" {
    xl rename "$guest" "$guest--incoming"
    snap create "$guest--incoming" name=no
    assert_status 4
    assert_says "cannot snapshot domain '$guest--incoming': it is being migrated"
    xl rename "$guest--incoming" "$guest"
    assert_sound
}

# bats test_tags=long
@test "libvirt's: refused, with -f it is taken; never reverted" {
    local file

    file=$(userdata libvirt-xml)
    echo '<domain/>' >"$file"
    refused 'it belongs to libvirt'
    snap create -f "$guest" name=forced
    assert_status 0
    snap revert -f "$guest" name=forced
    assert_status 4
    assert_told 'libvirt'
    rm "$file"
    assert_sound
}

# bats test_tags=long
@test "suspended by somebody: neither created nor resumed" {
    end_with 2
    until_true 20 guest_shut_down
    refused "it is suspended; 'xl snapshot-recover' resumes it if a snapshot left it so"
    guest_shut_down
    # It can go back.
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_monitored
}

@test "crashed and preserved: it can go back" {
    end_with 3
    until_true 20 guest_crashed
    until_true 20 monitor_count 0
    refused 'it has crashed'
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_monitored
    assert_scanned
}
