#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# `xl` as installed by install-xl: the real one behind it, and ours. Also a
# domain whose name is a number.

load helpers

setup_file()
{
    # A name that is no domid and no file's.
    export guest=7007 disk_a=/var/lib/guests/7007.qcow2
    export disk_b=$disk_a
    mkdir -p /var/lib/guests
    rm -rf "$disk_a" "${snapshots:?}/7007"
    labguest disk "$disk_a"
    labguest start "$guest" --mem 112 --disk "$disk_a,qcow2,xvda,w"
}

teardown_file()
{
    guest_end
}

@test "xl is ours, and the real one is Debian's" {
    [ "$(command -v xl)" = /usr/local/sbin/xl ]
    [ -L /usr/sbin/xl ]
}

@test "other commands go to the real xl with arguments and output" {
    run xl list -v Domain-0
    assert_status 0
    [ "$(sed 1d <<<"$output" | awk '{ print $1, $2, $3, $4 }')" = \
        "$(/usr/sbin/xl list -v Domain-0 | sed 1d |
            awk '{ print $1, $2, $3, $4 }')" ]
}

@test "the real xl's exit status comes through" {
    run /usr/sbin/xl list nosuchguest
    local theirs=$status

    run xl list nosuchguest
    assert_status "$theirs"
    [ "$status" -ne 0 ]
}

@test "xl help shows xl's commands and ours" {
    run xl help
    assert_status 0
    [[ $output == *" create "* ]]
    [[ $output == *" snapshot-create "* ]]
    [[ $output == *" snapshot-revert "* ]]
}

@test "xl's global options are understood before our commands" {
    run --separate-stderr xl -v snapshot-create -n "$guest" name=verbose
    assert_status 0
    [[ $output == *"memory-save: "* ]]
    run --separate-stderr xl -N snapshot-create "$guest" name=verbose
    assert_status 0
    [[ $output == *"memory-save: "* ]]
}

@test "a domain whose name is a number is found by its name" {
    snap create "$guest" name=number
    assert_status 0
    assert_sound
    snap revert -d "$guest" name=number
    assert_status 0
    assert_sound
}

@test "a domain is found by its domid, too" {
    snap create "$(domid)" name=byid
    assert_status 0
    [ "$output" = "$snapshots/$guest/byid/snapshot.cfg" ]
}

@test "progress is shown with -t, and not without a terminal" {
    snap create -t "$guest" name=progress
    assert_status 0
    [[ $stderr == *"memory: "*"pages, "*"%"* ]]
    snap create "$guest" name=quiet
    assert_status 0
    [[ $stderr != *"pages, "* ]]
    snap create -q "$guest" name=quieter
    assert_status 0
    [ -z "$stderr" ]
}

# bats test_tags=long
@test "a domain whose name has spaces, and is that of a file here, too" {
    local config

    guest_end
    guest='web server 2'
    cd "$BATS_TEST_TMPDIR"
    echo 'description = "no domain is named here"' >"$guest"
    labguest start "$guest" --mem 112 --disk "$disk_a,qcow2,xvda,w"
    snap create "$guest" name=spaces
    assert_status 2
    assert_says "$guest: this file has no 'domain'"
    snap create -d "$guest" name=spaces
    assert_status 0
    config=$output
    [ "$config" = "$snapshots/$guest/spaces/snapshot.cfg" ]
    assert_sound
    assert_monitored
    snap revert -d "$guest" name=spaces
    assert_status 0
    assert_sound
    snap revert "$config"
    assert_status 0
    assert_sound
    assert_monitored
    reboots
    snap recover -d "$guest"
    assert_status 0
    guest_end
    rm -r "${snapshots:?}/$guest"
}
