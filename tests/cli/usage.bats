#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Command lines that make no sense: 2, one line on stderr, nothing on stdout.

load helpers

see="(see 'xl-snapshot help')"
see_create="(see 'xl snapshot-create --help')"

@test "no command" {
    xl_snapshot
    refused 2 "no command $see"
    xl_snapshot -v
    refused 2 "no command $see"
    xl_snapshot --
    refused 2 "no command $see"
}

@test "an unknown command" {
    local word

    for word in frobnicate snapshot-frobnicate snapshot- creat create2 '' \
        snapshot-snapshot-create Create snapshot-help snapshot-guard; do
        xl_snapshot "$word" web1
        refused 2 "unknown command '$word' $see"
    done
}

@test "an unknown option before the command" {
    local word

    for word in -x -vx --json --live - --helpme -n; do
        xl_snapshot "$word" create web1
        [ "$word" = --json ] ||
            refused 2 "unknown option '$word' before the command $see"
    done
}

@test "xl's options before the command are known" {
    local word

    for word in -v -f -t -T -N -vftTN --; do
        xl_snapshot "$word" create
        refused 2 "no domain: give its name, a config with 'domain', or -d \
DOMAIN"
    done
    xl_snapshot -vf -N -- snapshot-create web1
    no_xen
}

@test "an unknown option" {
    xl_snapshot create --frobnicate web1
    refused 2 "unknown or ambiguous option '--frobnicate' $see_create"
    xl_snapshot create web1 -x
    refused 2 "unknown option '-x' $see_create"
    xl_snapshot create -nxq web1
    refused 2 "unknown option '-x' $see_create"
    xl_snapshot revert --live x.cfg
    refused 2 "unknown or ambiguous option '--live' (see 'xl snapshot-revert \
--help')"
    xl_snapshot recover -n
    refused 2 "unknown option '-n' (see 'xl snapshot-recover --help')"
}

@test "an ambiguous option" {
    xl_snapshot create --d=x web1
    refused 2 "unknown or ambiguous option '--d=x' $see_create"
}

@test "an option without its value" {
    local option

    for option in -d --domain --path --name --description --compress; do
        xl_snapshot create "$option"
        refused 2 "option '$option' needs a value $see_create"
    done
    xl_snapshot create -nd
    refused 2 "option '-nd' needs a value $see_create"
}

@test "an option with a value that it does not take" {
    local option

    for option in live internal paused dryrun json force quiet verbose help; do
        xl_snapshot create "--$option=1" web1
        refused 2 "option '--$option=1' takes no value $see_create"
    done
}

@test "options whose values are unsound" {
    xl_snapshot create --name= web1
    refused 2 "option '--name=': the snapshot's name is empty"
    xl_snapshot create --name=a/b web1
    refused 2 "option '--name=a/b': snapshot name 'a/b' has other characters \
than letters, digits and _ . + -"
    xl_snapshot create --compress=gzip web1
    refused 2 "option '--compress=gzip': compress: 'gzip': must be none or zstd"
    xl_snapshot create --path= web1
    refused 2 "option '--path=': path: '': must not be empty"
    xl_snapshot create -d ''
    refused 2 "option '--domain=': domain: '': must not be empty"
    xl_snapshot create --description=$'\x01' web1
    refused 2 "option '--description=?': control character 0x01"
}

@test "the value of an option is taken to the letter" {
    local text

    for text in '[draft] before upgrade' '"quoted"' "'quoted'" '"' '[' ' x' \
        $'two\nlines' $'\ttab' 'back\slash' '"back\slash' 'a=b' 'ä€'; do
        xl_snapshot create --description="$text" web1
        no_xen
    done
}

@test "--internal and --external" {
    xl_snapshot create --internal --external web1
    refused 2 "--internal and --external exclude each other"
    xl_snapshot create --external web1 --internal
    refused 2 "--internal and --external exclude each other"
}

@test "no domain" {
    xl_snapshot create
    refused 2 "no domain: give its name, a config with 'domain', or -d DOMAIN"
    xl_snapshot create name=x
    refused 2 "no domain: give its name, a config with 'domain', or -d DOMAIN"
    echo 'name = "x"' >x.cfg
    xl_snapshot create x.cfg
    refused 2 "x.cfg: this file has no 'domain'; name it there, or with -d DOMAIN"
    xl_snapshot create ''
    refused 2 "KEY=VALUE 'domain=': domain: '': must not be empty"
}

@test "two domains" {
    xl_snapshot create -d web2 web1
    refused 2 "option '--domain=web2': 'domain' is given twice on the command \
line"
    xl_snapshot create web1 domain=web2
    refused 2 "KEY=VALUE 'domain=web2': 'domain' is given twice on the command \
line"
    xl_snapshot create web1 web2
    refused 2 "'web2' is not KEY=VALUE $see_create"
}

@test "-d overrides the config" {
    printf 'domain = "web1"\n' >x.cfg
    xl_snapshot create -d web2 x.cfg
    no_xen
    xl_snapshot create x.cfg domain=web2
    no_xen
}

@test "a key by an option and by KEY=VALUE" {
    xl_snapshot create web1 name=a --name=b
    refused 2 "option '--name=b': 'name' is given twice on the command line"
    xl_snapshot create web1 live=0 --live
    refused 2 "option '--live=1': 'live' is given twice on the command line"
}

@test "too many arguments" {
    xl_snapshot recover web1 web2
    refused 2 "too many arguments (see 'xl snapshot-recover --help')"
}

@test "a dry run of recover, which has none" {
    xl_snapshot -N recover web1
    refused 2 "snapshot-recover has no dry run"
}

@test "guard and monitor are not for users" {
    local words

    for words in guard 'guard web1' 'guard web1 1 uuid' \
        'guard web1 1 uuid yes' 'guard web1 1 uuid perhaps 4' \
        'guard web1 x uuid yes 4' 'guard web1 0 uuid yes 4' \
        'guard web1 1 uuid yes x' 'guard web1 1 uuid yes 4 x' \
        'guard web1 32752 uuid yes 4' 'guard web1 -1 uuid yes 4' \
        monitor 'monitor web1' 'monitor web1 x' 'monitor web1 0' \
        'monitor web1 1 x' 'monitor web1 4294967297'; do
        # shellcheck disable=SC2086  # words
        xl_snapshot $words
        refused 2 "'${words%% *}' is for xl-snapshot's own use"
    done
}
