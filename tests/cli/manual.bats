#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The documents name what exists.

cd "$BATS_TEST_DIRNAME/../.." || exit

@test "every test that docs/disks.md names exists in the file it names" {
    local n=0 file rest title

    while IFS='|' read -r _ _ rest _; do
        file=
        # `file`*: "title"; "title"; `file`: "title"
        while [[ $rest =~ ^[^\"\`]*(\`([a-z-]+)\`\*?:\ *)?\"([^\"]*)\"(.*)$ ]]; do
            file=${BASH_REMATCH[2]:-$file}
            title=${BASH_REMATCH[3]} rest=${BASH_REMATCH[4]}
            grep -qxF "@test \"$title\" {" "tests/xen/$file.bats" || {
                echo "no '$title' in $file.bats"
                return 1
            }
            n=$((n + 1))
        done
    done < <(grep '^| .*"' docs/disks.md)
    [ "$n" -gt 60 ] || {
        echo "only $n"
        return 1
    }
}

@test "a star in docs/disks.md says that the file takes long, and none that it does not" {
    local file star

    while read -r file star; do
        if grep -q '^# Takes long' "tests/xen/$file.bats"; then
            [ "$star" = '*' ]
        else
            [ -z "$star" ]
        fi || {
            echo "$file$star"
            return 1
        }
    done < <(grep '^| ' docs/disks.md | grep -o '`[a-z-]*`\*\?' | tr '`' ' ' | sort -u)
}

@test "each test that tests/promises names is there" {
    local test file name

    cd "$BATS_TEST_DIRNAME/.."
    while read -r test; do
        file=${test%%: *} name=${test#*: }
        case $name in
        *'*') name=${name%\*} ;;
        *) name+='" {' ;;
        esac
        grep -qF "@test \"$name" "xen/$file.bats" "power/$file.bats" 2>/dev/null || {
            echo "$test"
            return 1
        }
    done < <(sed -n '/^[^#]/s/.* | //p' promises)
}
