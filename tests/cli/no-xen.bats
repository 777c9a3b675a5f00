#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Where no Xen is: 4, said clearly, and nothing done.

load helpers

# What a command might leave, with times.
state()
{
    find /var/lib/xen /run/xl-snapshot . -printf '%p %T@ %s\n' 2>/dev/null |
        sort
}

@test "every command refuses, and its line is the last" {
    printf 'domain = "web1"\n' >web1.cfg
    for words in 'create web1' 'create web1.cfg' 'create --live web1' \
        'create -n web1' 'create -q web1' 'create -vv web1' 'recover' \
        'recover web1' 'recover --abandon web1'; do
        # shellcheck disable=SC2086  # words
        xl_snapshot $words
        no_xen
    done
}

@test "nothing is made, nothing changed" {
    local before

    mkdir work && cd work
    printf 'domain = "web1"\npath = "snap"\n' >web1.cfg
    before=$(state)
    for words in 'create web1.cfg' 'create web1.cfg path=x' 'recover web1' \
        'create -f -p web1.cfg'; do
        # shellcheck disable=SC2086  # words
        xl_snapshot $words
        no_xen
        diff <(echo "$before") <(state) || fail "something changed"
    done
}

@test "a request that makes no sense is refused first" {
    xl_snapshot create web1 name=/
    [ "$status" -eq 2 ] || fail
    [[ $stderr != *libxl* ]] || fail
}

@test "a guard and a monitor end at once" {
    xl_snapshot guard web1 1 1b4e28ba-2fa1-11d2-883f-0016d3cca427 yes 4
    no_xen
    xl_snapshot monitor web1 1
    no_xen
}
