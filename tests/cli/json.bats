#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# With --json an error is an object on stdout, too.

load helpers

# json_error STATUS OPERATION MESSAGE: one object, of just these.
json_error()
{
    [ "$status" -eq "$1" ] || fail "not $1"
    [ "${stderr##*$'\n'}" = "xl-snapshot: $3" ] || fail "expected: $3"
    jq -e -s --argjson code "$1" --argjson operation "$2" --arg message "$3" \
        '. == [{operation: $operation,
                error: {code: $code, message: $message}}]' \
        <<<"$output" >/dev/null || fail "not this error in JSON: $3"
}

@test "a request that makes no sense" {
    local command

    for command in create revert; do
        xl_snapshot "$command" --json x.cfg
        json_error 2 "\"$command\"" \
            "cannot read 'x.cfg': No such file or directory"
        xl_snapshot "snapshot-$command" x.cfg --json
        json_error 2 "\"$command\"" \
            "cannot read 'x.cfg': No such file or directory"
    done
    xl_snapshot recover --json a b
    json_error 2 '"recover"' \
        "too many arguments (see 'xl snapshot-recover --help')"
}

@test "no Xen" {
    xl_snapshot create --json web1
    json_error 4 '"create"' "$no_xen"
    xl_snapshot recover --json
    json_error 4 '"recover"' "$no_xen"
}

@test "a command line that makes no sense, wherever --json stands" {
    local see="(see 'xl snapshot-create --help')"

    xl_snapshot create --json --frobnicate web1
    json_error 2 '"create"' "unknown or ambiguous option '--frobnicate' $see"
    xl_snapshot create --frobnicate web1 --json
    json_error 2 '"create"' "unknown or ambiguous option '--frobnicate' $see"
    xl_snapshot create --internal --external --json
    json_error 2 '"create"' "--internal and --external exclude each other"
    xl_snapshot create --json --name
    json_error 2 '"create"' "option '--name' needs a value $see"
}

@test "an unknown command has no name of an operation" {
    xl_snapshot frobnicate --json
    json_error 2 null "unknown command 'frobnicate' (see 'xl-snapshot help')"
    xl_snapshot --json create web1
    json_error 2 null "unknown option '--json' before the command (see \
'xl-snapshot help')"
}

@test "--json behind -- is no option" {
    xl_snapshot create web1 -- --json
    refused 2 "'--json' is not KEY=VALUE (see 'xl snapshot-create --help')"
}

@test "foreign text in a message is still JSON" {
    local name

    for name in $'quote"back\\slash' $'new\nline\ttab\x01' $'\xff\xc3' 'ä€😀'; do
        xl_snapshot create --json "./$name"
        [ "$status" -eq 2 ] || fail
        jq -e -s 'length == 1 and (.[0].error.message |
            startswith("cannot read"))' <<<"$output" >/dev/null || fail "$name"
        iconv -f UTF-8 -t UTF-8 <<<"$output" >/dev/null || fail "not UTF-8"
    done
}

@test "a message that is cut off is still JSON" {
    local long blanks

    long=$(printf '€%.0s' {1..1000})
    printf 'domain = "web1"\n' >web1.cfg
    for blanks in '' ' ' '  ' '   '; do
        xl_snapshot create --json web1.cfg "$blanks$long"
        [ "$status" -eq 2 ] || fail
        jq -e -s 'length == 1' <<<"$output" >/dev/null || fail
        iconv -f UTF-8 -t UTF-8 <<<"$output" >/dev/null || fail "not UTF-8"
    done
}

@test "help is text, with --json or without" {
    xl_snapshot create --json --help
    [ "$status" -eq 0 ] || fail
    [[ $output == Usage:* ]] || fail
}
