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

@test "a guest that says that it cannot suspend" {
    local node

    node=/local/domain/$(domid)/control/feature-suspend
    before=$(xenstore-read "$node" 2>/dev/null || true)
    xenstore-write "$node" 0
    refused 'its guest says that it cannot suspend (feature-suspend=0)'
    xenstore-write "$node" "${before:-1}"
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
    until_true 20 eval "[ \"\$(xl list $guest | awk 'NR == 2 { print substr(\$5, 5, 1) }')\" = c ]"
    until_true 20 monitor_count 0
    refused 'it has crashed'
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_monitored
    assert_scanned
}
