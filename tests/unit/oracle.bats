#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# The lab's oracle (tests/lab/oracle) must be able to fail: here it runs on
# plain files that are tampered with, and has to name what was done.

setup_file()
{
    oracle=$BATS_FILE_TMPDIR/oracle
    gcc -std=gnu11 -O2 -Wall -Wextra -static -pthread -o "$oracle" \
        "$BATS_TEST_DIRNAME"/../lab/oracle/*.c
    export oracle
}

setup()
{
    cd "$BATS_TEST_TMPDIR" || return
    truncate -s 8M a b
    rounds 100 a b
}

teardown()
{
    [ -z "${pid:-}" ] || kill -KILL "$pid" 2>/dev/null || true
}

# rounds N DISK...: one life of the oracle, of N rounds.
rounds()
{
    run "$oracle" --slots=64 --interval=0 --rounds="$1" "${@:2}" </dev/null
}

# The same that goes on until it is told to end, its lines in the file out.
start_oracle()
{
    "$oracle" --slots=64 --interval=20 "$@" a b </dev/null >out 2>&1 3>&- &
    pid=$!
    await '^ORACLE START'
}

await()
{
    local tries=0

    until grep -q "$1" out; do
        [ $((tries++)) -lt 100 ] || { cat out; return 1; }
        sleep 0.1
    done
}

stop_oracle()
{
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    pid=
    output=$(cat out)
}

# The byte offset of the slot that holds record N, in a ring of 64 slots in
# groups of 16 on 8 MiB.
offset()
{
    local place=$(($1 % 64 * 97 % 64))

    local group=$((place / 16))

    echo $((65536 + group * 2080768 + place % 16 * 4096))
}

# patch FILE N FROM [SKIP-BYTES [COUNT]]: overwrites (part of) record N.
patch()
{
    # At one stroke: the oracle may be reading it.
    dd if="$3" of="$1" bs="${5:-4096}" count=1 iflag=fullblock \
        seek=$(($(offset "$2") + ${4:-0})) oflag=seek_bytes conv=notrunc \
        status=none
}

# The whole record N of FILE, to stdout.
record()
{
    dd if="$1" bs=4096 skip=$(($(offset "$2") / 4096)) count=1 status=none
}

silent()
{
    [ "$status" -eq 0 ]
    [[ $output != *CORRUPT* ]]
}

found()
{
    [ "$status" -eq 1 ]
    [[ $output == *"ORACLE CORRUPT $1"* ]]
}

@test "an untouched run is silent" {
    silent
    [[ $output == *'ORACLE START last=0 disks=2 continued=0'* ]]
    [[ $output == *'ORACLE STOP n=100 corrupt=0'* ]]
}

@test "a second life goes on from the last record and is silent" {
    rounds 10 a b
    silent
    [[ $output == *'ORACLE START last=100 disks=2 continued=1'* ]]
    [[ $output == *'ORACLE STOP n=110 corrupt=0'* ]]
}

@test "a first disk that is one record ahead is no corruption" {
    cp b b.old
    rounds 1 a b
    cp b.old b
    rounds 1 a b
    silent
    [[ $output == *'ORACLE START last=100 '* ]]
}

@test "a second disk that is ahead is corruption" {
    cp a a.old
    rounds 1 a b
    cp a.old a
    rounds 1 a b
    found 'disk=b slot=- expected=100 found=101 kind=instant'
}

@test "an older copy of one disk is found at start" {
    cp b b.old
    rounds 10 a b
    cp b.old b
    rounds 1 a b
    found 'disk=b slot=- expected=110 found=100 kind=instant'
}

@test "a zeroed slot is found at start" {
    patch b 90 /dev/zero
    rounds 1 a b
    found 'disk=b slot=26 expected=90 found=0 kind=zero'
}

@test "a torn record is found at start" {
    cp a a.old
    rounds 64 a b
    patch a 150 <(record a.old 86 | tail -c 2048) 2048 2048
    rounds 1 a b
    found 'disk=a slot=22 expected=150 found=150 kind=torn'
}

@test "one flipped bit is found at start" {
    patch a 95 <(printf x) 2000 1
    rounds 1 a b
    found 'disk=a slot=31 expected=95 found=95 kind=torn'
}

@test "an older record in the ring is found at start" {
    cp b b.old
    rounds 64 a b
    patch b 150 <(record b.old 86)
    rounds 1 a b
    found 'disk=b slot=22 expected=150 found=86 kind=older'
}

@test "swapped disks are found at start" {
    rounds 1 b a
    found 'disk=b slot=super'
    [[ $output == *kind=foreign* ]]
}

@test "a disk of another set is found at start" {
    truncate -s 8M c d
    rounds 100 c d
    rounds 1 a d
    found 'disk=d slot=super expected=0 found=0 kind=foreign'
}

@test "an older copy of one disk is found while running" {
    start_oracle
    cp b b.old
    await 'ORACLE n=1[2-9][0-9] '
    dd if=b.old of=b conv=notrunc status=none
    await CORRUPT
    stop_oracle
    found 'disk=b slot='
    [[ $output == *kind=older* ]]
}

# What a disk that was not reverted with its memory looks like.
@test "a newer record is found while running" {
    cp a a.100
    cp b b.100
    rounds 40 a b
    cp a a.140
    cp a.100 a
    cp b.100 b
    start_oracle
    dd if=a.140 of=a conv=notrunc status=none
    await CORRUPT
    stop_oracle
    found 'disk=a slot='
    [[ $output == *kind=newer* ]]
}

@test "a zeroed and a torn record are found while running" {
    start_oracle --sample=16
    patch a 85 /dev/zero
    patch b 95 /dev/zero 1024 512
    await 'disk=a .*kind=zero'
    await 'disk=b .*kind=torn'
    stop_oracle
    [ "$status" -eq 1 ]
}

# Both timelines have a record 105; only the time of its writing differs.
@test "a record of a discarded timeline is found while running" {
    cp a a.100
    cp b b.100
    rounds 5 a b
    cp a a.105
    cp a.100 a
    cp b.100 b
    rounds 5 a b
    start_oracle --sample=16
    patch a 105 <(record a.105 105)
    await CORRUPT
    stop_oracle
    found 'disk=a slot=41 expected=105 found=105 kind=foreign'
}

@test "an untouched run over dirty memory is silent" {
    start_oracle --dirty-mb-s=8 --dirty-set=2
    await 'dirty=[1-9]'
    stop_oracle
    silent
}

@test "commands: mark, scan" {
    (sleep 0.5; echo mark here; echo scan; sleep 2) |
        "$oracle" --slots=64 --interval=20 --rounds=100 a b >out
    grep '^ORACLE MARK here n=1' out
    grep '^ORACLE SCAN n=1.* found=0$' out
}

@test "an unknown option and no disk are errors" {
    run "$oracle" --frobnicate=1 a </dev/null
    [ "$status" -eq 2 ]
    [[ $output == 'ORACLE FATAL --frobnicate=1: no such option' ]]
    run "$oracle" </dev/null
    [ "$status" -eq 2 ]
}
