#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Disks on LVM when it goes wrong: commands of LVM that fail, hang or are killed, and
# our own.
# Takes minutes.

load helpers
load lvm
load lvm-pair

# bats test_tags=long
@test "a store that fills up between proof and destroy: refused, the guest goes on" {
    local id

    small_made
    id=$(domid)
    program lvs <<END
if compgen -G '$pending/*.json' >/dev/null; then
    for mb in 25 27 29; do
        dd if=/dev/urandom of=/dev/$vg/root-a bs=256k count=2 \
            seek=\$((4 * mb + 1)) oflag=direct conv=notrunc status=none
    done
fi
exec /sbin/lvs "\$@"
END
    snap_with_fakes revert "$guest" name=small
    assert_refused "the snapshot '$vg/root-a-small': it has overflowed, and is lost"
    [ "$(domid)" = "$id" ]
    small_gone
}

# bats test_tags=long
@test "a revert that fails or is killed in its last look: the guest goes on" {
    local where how id

    id=$(domid)
    for where in last-look:after no-return:after; do
        run env XLSNAP_FAULT="$where" "$faulty" revert "$guest" name=gold
        assert_status 1
        assert_sound
        assert_nothing_pending
        [ "$(domid)" = "$id" ]
    done
    # What it does when the guard has let it go on is not given up.
    run env XLSNAP_FAULT=no-return:kill-after "$faulty" revert "$guest" name=gold
    assert_status 5
    until_true 60 no_guard
    xl pause "$guest"
    snap recover "$guest"
    assert_status 0
    [[ $output == *"had not begun; nothing was changed" ]]
    guest_paused
    xl unpause "$guest"
    assert_sound
    [ "$(domid)" = "$id" ]
    assert_nothing_pending
    for how in "" --abandon; do
        # The guard lets it go on; without one, recover.
        for where in kill-after killall-after; do
            run env XLSNAP_FAULT="last-look:$where" "$faulty" revert "$guest" name=gold
            assert_status 5
            until_true 60 no_guard
            if [ "$where" = kill-after ]; then
                assert_sound
            else
                guest_paused
            fi
            # shellcheck disable=SC2086
            snap recover $how "$guest"
            assert_status 0
            assert_sound
        done
        assert_nothing_pending
        [ "$(domid)" = "$id" ]
    done
    assert_gold_lvs
}

# As before: no volume, no record, and the origin's table.
assert_undone()
{
    assert_status 1
    assert_sound
    assert_nothing_pending
    assert_gold_lvs
    assert_monitored
    [ "$(dmsetup table "${vg/-/--}-root--a")" = "$table" ] ||
        fail "the disk's table was $table"
}

@test "an lvconvert that fails in the pause: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvconvert <<<'echo "  out of luck" >&2; exit 5'
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvda': 'lvconvert' exited with status 5: out of luck"
    assert_undone
}

# bats test_tags=long
@test "an lvcreate that hangs in the pause: ended after a minute, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvcreate <<'END'
case "$*" in
*--test*) exec /sbin/lvcreate "$@" ;;
*root-b-new*) exec sleep 1000 ;;
esac
exec /sbin/lvcreate "$@"
END
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvdb': 'lvcreate' did not finish within 60 s"
    assert_undone
}

# create_in_full_pool SECONDS: in the pause the pool is filled, for so long.
create_in_full_pool()
{
    lv lvcreate -qq -y -Wn -V 640M -T "$vg/pool" -n filler
    program lvcreate <<END
case "\$*" in
*--test*) ;;
*root-b-new*)
    # used/total blocks of 64 KiB
    dmsetup status ${vg/-/--}-pool-tpool |
        { read -r _ _ _ _ _ n _; echo "\$n"; } >$BATS_TEST_TMPDIR/blocks
    IFS=/ read -r used total <$BATS_TEST_TMPDIR/blocks
    dd if=/dev/zero of=/dev/$vg/filler bs=64k count="\$((total - used))" \
        oflag=direct status=none
    dmsetup status ${vg/-/--}-pool-tpool >$BATS_TEST_TMPDIR/pool
    setsid sh -c "sleep $1; exec lvremove -qq -f -y $vg/filler" >/dev/null 2>&1 &
    ;;
esac
exec /sbin/lvcreate "\$@"
END
    snap_with_fakes create "$guest" name=new
    [[ $(<"$BATS_TEST_TMPDIR/pool") =~ \ ([0-9]+)/([0-9]+)\ -\  ]]
    [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ] || fail "it was not full"
}

no_filler()
{
    ! lv lvs "$vg/filler" >/dev/null 2>&1
}

# dm-thin lets what needs room wait for 60 s, and then fail.
# bats test_tags=long
@test "a thin pool that is full in the pause: the guest waits for room; what was lost is told" {
    create_in_full_pool 15
    assert_status 0
    until_true 60 no_filler
    assert_scanned
    lv lvremove -qq -f -y "$vg/root-a-new" "$vg/root-b-new"
    rm -r "$snapshots/$guest/new"
    create_in_full_pool 120
    assert_status 1
    assert_says "disk 'xvdb': cannot flush '$vg/root-b': Input/output error"
    until_true 180 no_filler
    assert_nothing_pending
    assert_gold_lvs
    # The guest has seen the errors, too.
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
}

@test "an LVM that knows other options, or tells other things: refused" {
    program lvs <<'END'
echo "lvs: unrecognized option '--reportformat'" >&2
echo "  Error during parsing of command line." >&2
exit 3
END
    snap_with_fakes create "$guest" name=new
    assert_status 4
    assert_says "'lvs' exited with status 3: Error during parsing of command line."
    program lvs <<'END'
/sbin/lvs "$@" | sed 's/"lv_skip_activation"/"skip_activation"/g'
END
    snap_with_fakes create "$guest" name=new
    assert_status 4
    assert_says "'lvs' gives an unexpected answer about volume group '$vg'"
    assert_sound
    assert_nothing_pending
    assert_gold_lvs
}

@test "LVM's programs cannot be run: refused" {
    # shellcheck disable=SC2016  # for the other shell
    run --separate-stderr unshare -m sh -c \
        'mount --bind /dev/null "$(realpath "$(command -v lvs)")" &&
        exec xl-snapshot create "$0" name=new' "$guest"
    assert_status 4
    assert_says "cannot run 'lvs': Permission denied"
    assert_sound
    assert_nothing_pending
    assert_gold_lvs
}

# bats test_tags=long
@test "an lvcreate that is killed at its work: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvcreate <<'END'
case "$*" in
*root-b-new*--test* | *--test*) exec /sbin/lvcreate "$@" ;;
*root-b-new*)
    touch /tmp/lvcreate-works
    exec timeout -s KILL 0.6 /sbin/lvcreate "$@"
    ;;
esac
exec /sbin/lvcreate "$@"
END
    snap_with_fakes create "$guest" name=new
    rm /tmp/lvcreate-works
    assert_says "disk 'xvdb': 'lvcreate'"
    assert_undone
}

# bats test_tags=long
@test "whatever of its tree a killed command has left suspended goes on, and nothing else" {
    local table device prefix=${vg/-/--}

    table=$(dmsetup table "$prefix-root--a")
    lv_new thick other 8
    # Dead are the tool and its guard; only recover is left to help.
    run env XLSNAP_FAULT=disk-create:killall-after "$faulty" create "$guest" name=new
    assert_status 5
    for device in root--a root--a--gold root--a--gold-cow root--a-real root--b \
        pool-tpool pool_tdata other; do
        dmsetup suspend --nolockfs "$prefix-$device"
    done
    snap recover "$guest"
    assert_status 0
    assert_sound
    [ "$(dmsetup info -c --noheadings -o name,suspended | grep :Suspended)" = \
        "$prefix-other:Suspended" ]
    dmsetup resume "$prefix-other"
    lv lvremove -qq -f -y "$vg/other"
    status=1
    assert_undone
}

# locks_at COMMAND: the volume group's lock is taken just before LVM's command, and
# held beyond its patience, but not for ever.
locks_at()
{
    program "$1" <<END
flock $lock_file sleep 16 </dev/null >/dev/null 2>&1 &
until ! flock -n $lock_file true; do :; done
rm $BATS_TEST_TMPDIR/bin/$1
exec /sbin/$1 "\$@"
END
}

@test "a lock that is taken in the pause: exit 1, everything undone" {
    local table

    table=$(dmsetup table "${vg/-/--}-root--a")
    locks_at lvconvert
    snap_with_fakes create "$guest" name=new
    assert_says "disk 'xvda': the volume group has been locked by another LVM command for 10 s"
    assert_undone
}

# It comes when nobody looks for users any more, until the guest is gone.
# bats test_tags=long
@test "a user of the volume that is still there after the destroy is waited for" {
    program lvs <<END
if compgen -G '$pending/*.json' >/dev/null && mkdir $BATS_TEST_TMPDIR/once 2>/dev/null; then
    dmsetup create onit --table '0 8 linear /dev/$vg/root-a 0'
    { sleep 8; date +%s; dmsetup remove --retry onit; } >$BATS_TEST_TMPDIR/gone 2>&1 </dev/null &
fi
exec /sbin/lvs "\$@"
END
    labguest mark "$guest"
    snap_with_fakes revert "$guest" name=gold
    assert_status 0
    [ -s "$BATS_TEST_TMPDIR/gone" ]
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a lock that is taken after the destroy is waited for longer" {
    locks_at lvrename
    snap_with_fakes revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

converts()
{
    pgrep -f '^(/sbin/)?lvconvert ' >/dev/null
}

@test "the tool is killed while lvconvert works: the guard waits for it" {
    local table creator

    table=$(dmsetup table "${vg/-/--}-root--a")
    # Under its own name, by which it is found.
    program lvconvert <<END
exec -a lvconvert bash -c '
touch $BATS_TEST_TMPDIR/working
dmsetup suspend ${vg/-/--}-root--a
sleep 5
dmsetup resume ${vg/-/--}-root--a
exec /sbin/lvconvert "\$@"' lvconvert "\$@"
END
    PATH=$BATS_TEST_TMPDIR/bin:$PATH xl-snapshot create "$guest" name=new \
        2>"$BATS_TEST_TMPDIR/err" 3>&- &
    creator=$!
    until_true 180 test -e "$BATS_TEST_TMPDIR/working"
    kill -KILL "$(pgrep -P "$creator")" "$creator"
    status=0
    wait "$creator" || status=$?
    assert_status 137
    while converts; do
        guest_shut_down || ! converts || fail "the guard did not wait"
    done
    assert_sound
    snap recover "$guest"
    assert_status 0
    status=1
    assert_undone
}

# bats test_tags=long
@test "the tool and lvconvert are killed: the guard resumes the disk, then the guest" {
    local table creator

    table=$(dmsetup table "${vg/-/--}-root--a")
    program lvconvert <<END
dmsetup suspend ${vg/-/--}-root--a
touch $BATS_TEST_TMPDIR/working
exec -a lvconvert sleep 300
END
    PATH=$BATS_TEST_TMPDIR/bin:$PATH xl-snapshot create "$guest" name=new \
        2>"$BATS_TEST_TMPDIR/err" 3>&- &
    creator=$!
    until_true 180 test -e "$BATS_TEST_TMPDIR/working"
    kill -KILL "$(pgrep -P "$creator")" "$creator" "$(pgrep -f '^lvconvert 300')"
    status=0
    wait "$creator" || status=$?
    assert_status 137
    until_true 60 no_guard
    assert_not_suspended
    assert_sound
    snap recover "$guest"
    assert_status 0
    status=1
    assert_undone
}

@test "a revert that died between the two renames is finished" {
    local token

    run env XLSNAP_FAULT=disk-revert:kill-before "$faulty" revert "$guest" name=gold
    assert_status 5
    token=$(jq -r .token "$pending"/*.json)
    lv lvcreate -qq -y -s -kn -n "xl-snapshot.$token.xvdb" \
        --addtag "xl-snapshot.$token" "$vg/root-b-gold"
    lv lvchange -qq -an "$vg/root-b"
    lv lvrename -qq "$vg" root-b "xl-snapshot.$token.xvdb.old"
    snap recover
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a volume that was written to after a revert that died is not taken back again unasked" {
    run env XLSNAP_FAULT=disk-revert:kill-after "$faulty" revert "$guest" name=gold
    assert_status 5
    lv lvchange -qq -ay "$vg/root-b"
    dd if=/dev/urandom of="/dev/$vg/root-b" bs=1M count=32 oflag=direct \
        conv=notrunc status=none
    labguest mark "$guest"
    snap recover "$guest"
    assert_status 4
    assert_says "root--b' was written to since the revert to 'gold' was cut off"
    snap recover --abandon "$guest"
    assert_status 0
    snap revert "$guest" name=gold
    assert_status 0
    assert_back_at_gold
    assert_as_gold
}

# bats test_tags=long
@test "a thick revert that died in the middle of copying is finished" {
    change 11 43
    run env XLSNAP_FAULT=disk-copy/xvda:kill-after "$faulty" revert "$guest" name=gold
    assert_status 5
    # Half of it is back.
    cmp -n $((16 << 20)) "/dev/$vg/root-a" "/dev/$vg/root-a-gold"
    run ! cmp -s "/dev/$vg/root-a" "/dev/$vg/root-a-gold"
    snap recover
    assert_status 0
    assert_back_at_gold
    assert_as_gold
    assert_unchanged 11 43
}

# bats test_tags=long
@test "revert --keep, killed after the disks, keeps the first discarded state" {
    local sum kept

    go_on
    guest_end
    sum=$(sha256sum <"/dev/$vg/root-a"; sha256sum <"/dev/$vg/root-b")
    run env XLSNAP_FAULT=disk-revert:kill-after "$faulty" revert --keep "$guest" name=gold
    assert_status 5
    snap recover
    assert_status 0
    kept=$(lvs_now | grep -- -discarded-)
    [ "$(wc -l <<<"$kept")" = 2 ] || fail "kept: $kept"
    lv lvchange -qq -ay -K "$vg/$(grep ^root-b- <<<"$kept")"
    [ "$(for one in $kept; do sha256sum <"/dev/$vg/$one"; done)" = "$sum" ] ||
        fail "what was kept differs"
    for one in $kept; do
        lv lvremove -qq -f -y "$vg/$one"
    done
    assert_back_at_gold
    assert_as_gold
}
