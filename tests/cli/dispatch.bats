#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# xl-dispatch: which program is run, and that nothing is lost on the way.
# Programs that stand for xl and xl-snapshot say how they were called.

load helpers

built=$repo/${B:-build}/xl-dispatch

setup_file()
{
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true # they share sbin/
    export here=$BATS_FILE_TMPDIR
    mkdir "$here/sbin"
    # -static for a root directory without libraries
    gcc -std=gnu11 -D_GNU_SOURCE -DSBINDIR="\"$here/sbin\"" -static \
        -o "$here/xl-dispatch" "$repo/xl-snapshot/xl-dispatch.c"
    gcc -static -o "$here/fake" "$BATS_TEST_DIRNAME/fake.c"
}

# The dispatcher in first/, the real xl in second/, xl-snapshot in sbin/.
setup()
{
    cd "$BATS_TEST_TMPDIR" || return
    mkdir first second
    cp "$here/xl-dispatch" first/xl
    cp "$here/fake" second/xl
    cp --remove-destination "$here/fake" "$here/sbin/xl-snapshot"
    system_path=/usr/bin:/bin
    PATH=$PWD/first:$PWD/second:$system_path
}

real_xl_snapshot()
{
    cp --remove-destination "$xl_snapshot" "$here/sbin/xl-snapshot"
}

teardown()
{
    [ -z "${pid-}" ] || kill -KILL "$pid" 2>/dev/null || true
}

# dispatch COMMAND...: into $status, $output (| for NUL) and $stderr.
dispatch()
{
    status=0
    timeout 20 "$@" >out 2>err || status=$?
    output=$(tr '\0' '|' <out)
    stderr=$(cat err)
}

# called PROGRAM ARGUMENT...: exactly that was run, with these, $0 included.
called()
{
    [ "$status" -eq 0 ] || fail "not 0"
    printf '%s\0' "$@" | cmp - out || fail "not called so"
}

# failed STATUS MESSAGE: with that one line only.
failed()
{
    [ "$status" -eq "$1" ] || fail "not $1"
    [ -z "$output" ] || fail "stdout is not empty"
    [ "$stderr" = "xl-dispatch: $2" ] || fail "expected: xl-dispatch: $2"
}

@test "what is not ours goes to the real xl" {
    dispatch xl list
    called "$PWD/second/xl" xl list
}

@test "arguments pass untouched" {
    dispatch xl create 'a b' '' $'c\nd' '*' -- --e= 'x="y"'
    called "$PWD/second/xl" xl create 'a b' '' $'c\nd' '*' -- --e= 'x="y"'
}

@test "the real xl sees the path it was called by" {
    (exec -a /usr/sbin/xl first/xl list) >out
    status=0
    called "$PWD/second/xl" /usr/sbin/xl list
}

@test "called by another name, the real xl is still called xl" {
    ln -s xl first/toolstack
    first/toolstack list >out
    status=0
    called "$PWD/second/xl" "$PWD/second/xl" list
}

@test "without a name of its own, the real xl is still called xl" {
    (exec -a '' first/xl list) >out
    status=0
    called "$PWD/second/xl" "$PWD/second/xl" list
}

@test "the real xl is run under the path it was found by: Debian's looks" {
    printf '#!/bin/sh\necho "${0##*/} of ${0%%/*}: $*"\n' >wrapper
    chmod +x wrapper
    ln -sf ../wrapper second/xl
    dispatch xl list -l
    [ "$output" = "xl of $PWD/second: list -l" ] || fail
}

@test "the exit status is the real xl's" {
    local n

    for n in 0 1 2 126 127 255; do
        FAKE_STATUS=$n dispatch xl list
        [ "$status" -eq "$n" ] || fail "not $n"
    done
}

@test "a death by signal is the real xl's" {
    # timeout(1) would make it a status
    run bash -c 'FAKE_SIGNAL=9 xl list >/dev/null; echo $?'
    [ "${lines[-1]}" = 137 ] || fail
}

# start_waiting COMMAND...: in the background, as $pid, until it has begun.
start_waiting()
{
    FAKE_WAIT=1 "$@" >out 3>&- &
    pid=$!
    until [ -s out ]; do
        kill -0 "$pid"
        sleep 0.05
    done
}

@test "it becomes the real xl: the same process, which gets the signals" {
    start_waiting xl list
    [ "$(readlink "/proc/$pid/exe")" = "$PWD/second/xl" ]
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 143 ] || fail "not 143"
}

@test "signals that are ignored stay ignored" {
    start_waiting bash -c 'trap "" HUP INT USR1; exec xl list'
    disown
    kill -HUP "$pid"
    kill -INT "$pid"
    kill -USR1 "$pid"
    sleep 0.1
    [ "$(readlink "/proc/$pid/exe")" = "$PWD/second/xl" ]
}

@test "stdin and other descriptors pass" {
    printf '#!/bin/sh\ncat; cat <&7\n' >second/xl
    run bash -c 'echo in | xl console 7<<<"seven"'
    [ "$output" = $'in\nseven' ] || fail
}

@test "snapshot-create goes to xl-snapshot" {
    dispatch xl snapshot-create --live web1 name='a b'
    called "$here/sbin/xl-snapshot" xl snapshot-create --live web1 name='a b'
}

@test "every word that begins with snapshot- does, known or not" {
    local word

    for word in revert recover clone check frobnicate ''; do
        dispatch xl "snapshot-$word"
        called "$here/sbin/xl-snapshot" xl "snapshot-$word"
    done
}

@test "it does with xl's global options before it" {
    dispatch xl -v snapshot-create web1
    called "$here/sbin/xl-snapshot" xl -v snapshot-create web1
    dispatch xl -vf -tTN -v snapshot-create web1
    called "$here/sbin/xl-snapshot" xl -vf -tTN -v snapshot-create web1
    dispatch xl -v -- snapshot-create web1
    called "$here/sbin/xl-snapshot" xl -v -- snapshot-create web1
}

@test "the exit status is xl-snapshot's" {
    FAKE_STATUS=5 dispatch xl snapshot-revert x.cfg
    [ "$status" -eq 5 ] || fail
}

@test "other words are xl's, also those that look like ours" {
    local word

    for word in s snapshot snapshotcreate create-snapshot help- - -x -vx; do
        dispatch xl "$word" snapshot-create
        called "$PWD/second/xl" xl "$word" snapshot-create
    done
    dispatch xl -v list snapshot-create
    called "$PWD/second/xl" xl -v list snapshot-create
}

@test "xl-snapshot may be elsewhere on PATH" {
    mv "$here/sbin/xl-snapshot" first/
    dispatch xl snapshot-create
    called "$PWD/first/xl-snapshot" xl snapshot-create
}

@test "where it was installed comes first" {
    cp "$here/fake" first/xl-snapshot
    dispatch xl snapshot-create
    called "$here/sbin/xl-snapshot" xl snapshot-create
}

no_xl_snapshot()
{
    echo "xl-snapshot is neither in $here/sbin nor on PATH"
}

@test "without xl-snapshot: 127 and a clear line" {
    rm "$here/sbin/xl-snapshot"
    dispatch xl snapshot-create
    failed 127 "$(no_xl_snapshot)"
}

@test "help of a command of ours is xl-snapshot's" {
    dispatch xl help snapshot-create
    called "$here/sbin/xl-snapshot" xl help snapshot-create
    dispatch xl -v help snapshot-create
    called "$here/sbin/xl-snapshot" xl -v help snapshot-create
}

@test "help of a command of xl's is xl's" {
    dispatch xl help list
    called "$PWD/second/xl" xl help list
}

@test "help, and xl alone, are xl's and then ours" {
    local words

    real_xl_snapshot
    for words in help -h --help '' '-v help' '-v --'; do
        # shellcheck disable=SC2086  # words
        dispatch xl $words
        [ "$status" -eq 0 ] || fail "$words"
        [ "${output%%$'\n'*}" = \
            "$PWD/second/xl|xl|${words:+"${words// /|}|"}" ] || fail "$words"
        [[ $output == *$'\n snapshot-create  '* ]] || fail "$words"
        [ -z "$stderr" ] || fail "$words"
    done
}

@test "help keeps the status of the real xl" {
    FAKE_STATUS=1 dispatch xl
    [ "$status" -eq 1 ] || fail
    FAKE_STATUS=3 dispatch xl --help
    [ "$status" -eq 3 ] || fail
    FAKE_SIGNAL=15 dispatch xl help
    [ "$status" -eq 143 ] || fail
}

@test "help works for a caller that ignores its children" {
    FAKE_STATUS=3 dispatch bash -c 'trap "" CHLD; xl help'
    [ "$status" -eq 3 ] || fail
}

@test "help without xl-snapshot is still xl's" {
    rm "$here/sbin/xl-snapshot"
    FAKE_STATUS=1 dispatch xl help
    [ "$status" -eq 1 ] || fail
    [[ $output == "$PWD/second/xl|xl|help|"* ]] || fail
    [ "$stderr" = "xl-dispatch: $(no_xl_snapshot)" ] || fail
}

@test "help whose reader went away says nothing" {
    real_xl_snapshot
    printf '#!/bin/sh\necho xl; exec >&-; sleep 0.2\n' >second/xl
    dispatch bash -c 'xl help | head -n 1; sleep 0.4'
    [ "$output" = xl ] || fail
    [ -z "$stderr" ] || fail
}

@test "bash completion finds our commands among xl's" {
    real_xl_snapshot
    cat >second/xl <<'END'
#!/bin/sh
printf 'Usage xl [-vfNtT] <subcommand> [args]\n\n'
printf 'xl full list of subcommands:\n\n'
printf ' %-19s %s\n' create 'Create a domain' list 'List domains'
END
    # as in Xen's completion
    dispatch bash -c "xl help 2>/dev/null | sed '1,4d' |
        awk '/^ [^ ]/ {print \$1}' | tr '\\n' ' '"
    [ "$output" = \
        'create list snapshot-create snapshot-revert snapshot-recover ' ] ||
        fail
}

@test "symlinks and hard links to it are not the real xl" {
    mkdir between
    ln -s ../first/xl between/xl
    PATH=$PWD/first:$PWD/between:$PWD/second:$PATH dispatch xl list
    called "$PWD/second/xl" xl list
    ln -f first/xl between/xl
    PATH=$PWD/first:$PWD/between:$PWD/second:$PATH dispatch xl list
    called "$PWD/second/xl" xl list
}

@test "nor are they if it cannot be read" {
    mkdir between
    ln first/xl between/xl
    chmod 111 first/xl
    # root without its capabilities
    PATH=$PWD/first:$PWD/between:$PATH dispatch "${as_root[@]}" \
        setpriv --bounding-set=-all xl list
    called "$PWD/second/xl" xl list
}

@test "copies and other builds of it are not the real xl" {
    mkdir between
    cp first/xl between/xl
    PATH=$PWD/first:$PWD/between:$PWD/second:$PATH dispatch xl list
    called "$PWD/second/xl" xl list
    cp "$built" between/xl
    PATH=$PWD/first:$PWD/between:$PWD/second:$PATH dispatch xl list
    called "$PWD/second/xl" xl list
    PATH=$PWD/between:$PWD/first:$PWD/second:$PATH dispatch xl list
    called "$PWD/second/xl" xl list
}

no_real_xl="there is no other 'xl' on PATH: is Xen's toolstack installed?"

# put PROGRAM FILE: under root/, a directory in which the machine's own xl is
# not found.
put()
{
    mkdir -p "root/${2%/*}"
    cp "$1" "root/$2"
}

# dispatch_in_root PATH ARGUMENT...: with root/ as the root directory, and
# without a PATH if that is empty.
dispatch_in_root()
{
    local path=(${1:+"PATH=$1"})

    put first/xl usr/local/sbin/xl
    shift
    dispatch "${as_root[@]}" env -i "${path[@]}" /usr/sbin/chroot \
        "$PWD/root" /usr/local/sbin/xl "$@"
}

@test "without a real xl: 127 and a clear line" {
    dispatch_in_root /usr/local/sbin:/opt list
    failed 127 "$no_real_xl"
    dispatch_in_root '' list
    failed 127 "$no_real_xl"
    dispatch_in_root '' help
    failed 127 "$no_real_xl"
}

@test "two dispatchers and no real xl do not call each other" {
    put "$built" opt/xl
    put first/xl usr/sbin/xl
    dispatch_in_root /usr/local/sbin:/opt list
    failed 127 "$no_real_xl"
}

@test "without PATH the real xl is looked for where it is installed" {
    local dir

    for dir in usr/sbin sbin; do
        rm -rf root
        put "$here/fake" "$dir/xl"
        dispatch_in_root '' list
        called '' /usr/local/sbin/xl list
    done
}

@test "the last resort is the newest of Xen's own directories" {
    put first/xl usr/lib/xen-4.14/bin/xl
    put "$here/fake" usr/lib/xen-4.16/bin/xl
    put first/xl usr/lib/xen-4.17/bin/xl
    dispatch_in_root /nowhere list
    called '' /usr/local/sbin/xl list
    echo 'cannot be run' >root/usr/lib/xen-4.16/bin/xl
    put "$here/fake" usr/lib/xen-4.17/bin/xl
    dispatch_in_root /nowhere list
    called '' /usr/local/sbin/xl list
}

loop()
{
    echo "called in a loop: '$PWD/second/xl' is no real xl, it calls xl again"
}

@test "a wrapper that execs xl again is told, not followed" {
    printf '#!/bin/sh\nexec xl "$@"\n' >second/xl
    dispatch xl list
    failed 127 "$(loop)"
}

@test "a wrapper that starts xl again is told, not followed" {
    printf '#!/bin/sh\nxl "$@"\nexit $?\n' >second/xl
    dispatch xl list
    failed 127 "$(loop)"
}

@test "a script that xl starts may call xl" {
    cat >second/xl <<'END'
#!/bin/sh
echo "$1"
case $1 in
create) xl list && xl snapshot-create ;;
list) xl info ;;
esac
exit 0
END
    dispatch xl create
    [[ $output == $'create\nlist\ninfo\n'"$here/sbin/xl-snapshot|"* ]] || fail
}

@test "nonsense in the variable that tells loops does no harm" {
    local text

    for text in '' x 1 7 ' '; do
        XL_SNAPSHOT_DISPATCHED=$text dispatch xl list
        called "$PWD/second/xl" xl list
    done
}

@test "a directory and a file that is not executable are no xl" {
    mkdir -p first/a/xl first/b
    echo >first/b/xl
    PATH=$PWD/first/a:$PWD/first/b:$PATH dispatch first/xl list
    called "$PWD/second/xl" first/xl list
}

@test "the current directory is never searched" {
    local path

    mkdir sub
    cp "$here/fake" xl
    cp "$here/fake" sub/xl
    for path in : .: sub: ./sub: ::; do
        PATH=$path$PATH dispatch first/xl list
        called "$PWD/second/xl" first/xl list
    done
    PATH=$PATH: dispatch first/xl list
    called "$PWD/second/xl" first/xl list
}

@test "a real xl that cannot be executed: 126, or 127 if it is not there" {
    echo 'no magic' >second/xl
    dispatch xl list
    failed 126 "cannot run '$PWD/second/xl': Exec format error"
    printf '#!/nonexistent/interpreter\n' >second/xl
    dispatch xl list
    failed 127 "cannot run '$PWD/second/xl': No such file or directory"
}
