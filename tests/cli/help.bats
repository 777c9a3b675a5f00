#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# What help there is, and that it is true.

load helpers

commands=(create revert recover)

# helped: help is a result, on stdout and with 0.
helped()
{
    [ "$status" -eq 0 ] || fail "not 0"
    [ -n "$output" ] || fail "no help"
    [ -z "$stderr" ] || fail "stderr is not empty"
}

# The options that $output names, one a line, with =X if they have a value.
options()
{
    local names name value

    sed -n 's/^  \(-[^ ]*\( -[^ ]*\)\?\)  .*/\1/p' <<<"$output" |
        while IFS=', ' read -r -a names; do
            value=
            [[ ${names[*]} != *=* ]] || value='=X'
            for name in "${names[@]}"; do
                printf '%s\n' "${name%=*}$value"
            done
        done
}

@test "help lists every command" {
    local command

    xl_snapshot help
    helped
    for command in "${commands[@]}"; do
        grep -q "^ snapshot-$command  *[A-Z]" <<<"$output" || fail "$command"
    done
    [ "$(grep -c '^ snapshot-' <<<"$output")" -eq ${#commands[@]} ] || fail
}

@test "help, --help and -h are the same" {
    local text

    xl_snapshot help
    text=$output
    for word in --help -h; do
        xl_snapshot "$word"
        helped
        [ "$output" = "$text" ] || fail "$word"
    done
    xl_snapshot -v help
    helped
    [ "$output" = "$text" ] || fail
}

@test "each command has help, however it is asked for" {
    local command text

    for command in "${commands[@]}"; do
        xl_snapshot help "$command"
        helped
        text=$output
        [[ $text == "Usage: xl [-vftTN] snapshot-$command "* ]] || fail
        for words in "help snapshot-$command" "$command --help" \
            "$command -h" "snapshot-$command --help" "-v $command -nh" \
            "snapshot-$command web1 x=y --help"; do
            [[ $command != recover || $words != *-nh ]] || continue
            # shellcheck disable=SC2086  # words
            xl_snapshot $words
            helped
            [ "$output" = "$text" ] || fail "$words"
        done
    done
}

@test "no line of help is wider than 79 columns" {
    local command

    for command in '' "${commands[@]}"; do
        # shellcheck disable=SC2086  # or none
        xl_snapshot help $command
        helped
        ! grep -E '.{80}' <<<"$output" || fail "too wide"
        ! grep -E '[[:space:]]$' <<<"$output" || fail "blanks at an end"
        ! grep -P '\t|[^\x20-\x7e]' <<<"$output" || fail "not plain text"
    done
}

@test "every option that help names is understood" {
    local command option

    for command in "${commands[@]}"; do
        xl_snapshot help "$command"
        for option in $(options); do
            # -d=X is -d with the value =X
            run "$xl_snapshot" "$command" "$option" --help
            [ "$status" -eq 0 ] || fail "$option"
            [[ $output == Usage:* ]] || fail "$option"
        done
    done
}

@test "no option is named twice" {
    local command

    for command in "${commands[@]}"; do
        xl_snapshot help "$command"
        [ -z "$(options | sort | uniq -d)" ] || fail
        [ "$(options | wc -l)" -gt 5 ] || fail
    done
}

@test "help of a command that does not exist" {
    xl_snapshot help frobnicate
    refused 2 "unknown command 'frobnicate' (see 'xl-snapshot help')"
}

@test "version tells ours and Xen's" {
    local word

    for word in version --version; do
        xl_snapshot "$word"
        helped
        [[ $output =~ ^xl-snapshot\ [0-9.]+,\ for\ Xen\ [0-9]+\.[0-9]+$ ]] ||
            fail
    done
}
