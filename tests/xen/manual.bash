# SPDX-License-Identifier: LGPL-2.1-or-later
# The manual's commands, as they are written there but for the names.
# shellcheck shell=bash

manual=/root/docs/xl-snapshot.1.pod

# commands FIRST: the indented paragraph of the manual that begins so.
commands()
{
    awk -v first=" $1" '
        index($0, first) == 1 { on = 1 }
        on && !/^ / { exit }
        on { print; found = 1 }
        END { exit !found }' "$manual" |
        sed -e "s|/srv/web1-monday|$disk_dir/a-monday|g" \
            -e "s|/srv/web1-a\.qcow2|$disk_a|g; s|/srv/web1-b\.qcow2|$disk_b|g" \
            -e "s|/srv/web1\.img|$disk_dir/a.img|g" \
            -e "s|/srv/web1\.qcow2|$disk_a|g; s|/srv/web1\.vhd|$disk_a|g" \
            -e "s|/dev/vg0/web1-|/dev/$vg/root-|g; s|web1|$guest|g"
}

# as_written FIRST: runs it.
as_written()
{
    commands "$1" >"$BATS_TEST_TMPDIR/commands"
    [ -s "$BATS_TEST_TMPDIR/commands" ] || fail "the manual has no '$1'"
    bash "$BATS_TEST_TMPDIR/commands"
}
