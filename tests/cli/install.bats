#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# make install, install-xl and uninstall.

load helpers

# make_in ARGUMENT...: of the tree, into tree/.
make_in()
{
    # not the flags of the make that runs the tests
    run --separate-stderr env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS \
        make -s -C "$repo" DESTDIR="$PWD/tree" "$@"
}

files()
{
    (cd tree && find . ! -type d | sort)
}

@test "install puts all in its place" {
    make_in install
    [ "$status" -eq 0 ] || fail
    [ -x tree/usr/local/sbin/xl-snapshot ] || fail
    [ -f tree/usr/local/share/man/man5/xl-snapshot.cfg.5 ] || fail
    [ -f tree/usr/local/share/doc/xl-snapshot/examples/minimal.cfg ] || fail
    [ ! -e tree/usr/local/sbin/xl ] || fail
    [ -z "$(find tree ! -type d ! -perm 644 ! -perm 755)" ] || fail "modes"
    cmp "$xl_snapshot" tree/usr/local/sbin/xl-snapshot
}

@test "install-xl puts the dispatcher, and again" {
    make_in install-xl
    make_in install-xl
    [ "$status" -eq 0 ] || fail
    [ "$(files)" = ./usr/local/sbin/xl ] || fail "$(files)"
    cmp "$repo/${B:-build}/xl-dispatch" tree/usr/local/sbin/xl
}

@test "install-xl never replaces the real xl, nor what its symlink names" {
    mkdir -p tree/usr/local/sbin tree/lib
    echo real >tree/lib/wrapper
    ln -s ../../../lib/wrapper tree/usr/local/sbin/xl
    make_in install-xl
    [ "$status" -eq 2 ] || fail
    [[ $stderr == "$PWD/tree/usr/local/sbin/xl is the real xl: choose another \
PREFIX"* ]] || fail
    [ "$(cat tree/lib/wrapper)" = real ] || fail
    [ -L tree/usr/local/sbin/xl ] || fail
    rm tree/lib/wrapper
    make_in install-xl
    [ "$status" -eq 2 ] || fail
    [ -L tree/usr/local/sbin/xl ] || fail
}

@test "uninstall leaves nothing" {
    make_in install install-xl
    [ "$status" -eq 0 ] || fail
    make_in uninstall
    [ "$status" -eq 0 ] || fail
    [ -z "$(files)" ] || fail "$(files)"
    [ ! -e tree/usr/local/share/doc/xl-snapshot ] || fail
    make_in uninstall
    [ "$status" -eq 0 ] || fail
}

@test "uninstall never removes the real xl, nor anyone else's files" {
    mkdir -p tree/usr/local/sbin tree/usr/local/share/doc/xl-snapshot
    echo real >tree/usr/local/sbin/xl
    echo mine >tree/usr/local/share/doc/xl-snapshot/notes
    make_in install uninstall
    [ "$(files)" = "./usr/local/sbin/xl
./usr/local/share/doc/xl-snapshot/notes" ] || fail "$(files)"
}

@test "another PREFIX is what the programs look in" {
    make_in B="$PWD/build" PREFIX=/opt/x "$PWD/build/xl-dispatch"
    [ "$status" -eq 0 ] || fail
    grep -q /opt/x/sbin build/xl-dispatch
    make_in B="$PWD/build" PREFIX=/usr "$PWD/build/xl-dispatch"
    [ "$status" -eq 0 ] || fail
    run grep -c /opt/x build/xl-dispatch
    [ "$output" = 0 ] || fail
}

@test "make help names every target that is for people" {
    make_in help
    [ "$status" -eq 0 ] || fail
    for target in all check check-unit check-cli check-fuzz-corpus check-asan \
        fuzz lint install install-xl uninstall clean; do
        grep -q "^  $target  *[^ ]" <<<"$output" || fail "$target"
    done
}
