#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which snapshot a revert means, and what contradicts it.

load helpers

snapshots=/var/lib/xen/snapshots

setup()
{
    cd "$BATS_TEST_TMPDIR" || return
    snapshot "$PWD/snap" before-upgrade
    config "path = '$PWD/snap'"
}

# config LINE...: web1.cfg, of domain web1
config()
{
    printf '%s\n' 'domain = "web1"' "$@" >web1.cfg
}

# snapshot DIR NAME: a snapshot.cfg as create writes it
snapshot()
{
    mkdir -p "$1"
    cat >"$1/snapshot.cfg" <<END
snapshot_format = 1
domain = "web1"
name = "$2"
path = "$1"
memory = "$1/memory.save"
live = 1
compress = "none"
disks = [
    "vdev=xvda,snapshot=internal,format=qcow2,source=/srv/a.qcow2",
    "vdev=xvdb,snapshot=external,format=qcow2,target=/srv/b-x,source=/srv/b",
]
uuid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
memory_digest = "xxh3-128:00112233445566778899aabbccddeeff"
creation_time = 1700000000
END
}

@test "by its snapshot.cfg" {
    xl_snapshot revert snap/snapshot.cfg
    no_xen
}

@test "by path" {
    xl_snapshot revert web1.cfg
    no_xen
    xl_snapshot revert web1 path=snap/
    no_xen
    xl_snapshot revert -d web1 path=./snap
    no_xen
    xl_snapshot revert -d 7 path=snap
    no_xen
}

@test "what agrees with it may be said again" {
    config "path = '$PWD/snap'" 'name = "before-upgrade"' \
        "memory = '$PWD/snap/memory.save'" 'live = 0' 'compress = "zstd"' \
        "disks = [ ',,xvda', '/srv/b-x,qcow2,xvdb' ]"
    xl_snapshot revert web1.cfg
    no_xen
    xl_snapshot revert snap/snapshot.cfg name=before-upgrade domain=web1 \
        uuid=1b4e28ba-2fa1-11d2-883f-0016d3cca427
    no_xen
}

@test "no argument" {
    xl_snapshot revert
    refused 2 "which snapshot? give a config (see 'xl snapshot-revert --help')"
}

@test "a snapshot that is not there" {
    xl_snapshot revert web1 path=nowhere
    refused 2 "cannot read '$PWD/nowhere/snapshot.cfg': No such file or \
directory"
    xl_snapshot revert no-such-domain name=x
    refused 2 "cannot read '$snapshots/no-such-domain/x/snapshot.cfg': No such \
file or directory"
}

@test "neither name nor path, and there is no snapshot" {
    xl_snapshot revert no-such-domain
    refused 2 "which snapshot? give name= or path=, or its snapshot.cfg (none \
was found as $snapshots/no-such-domain/*/snapshot.cfg)"
    xl_snapshot revert 'no-such-*'
    refused 2 "which snapshot? give name= or path=, or its snapshot.cfg (none \
was found as $snapshots/no-such-*/*/snapshot.cfg)"
}

# with_snapshots NAME...: of domain web1 where they are by default, for
# xl_snapshot_there; in a mount namespace.
with_snapshots()
{
    names=("$@")
}

xl_snapshot_there()
{
    # shellcheck disable=SC2016  # for the other shell
    run --separate-stderr unshare -rm bash -c '
        mount -t tmpfs none /var/lib
        for name in $1; do
            mkdir -p "/var/lib/xen/snapshots/web1/$name"
            cp "snap/snapshot.cfg" "/var/lib/xen/snapshots/web1/$name/"
        done
        shift
        exec "$@"' - "${names[*]}" "$xl_snapshot" "$@"
}

@test "neither name nor path: the snapshots that there are" {
    with_snapshots before-upgrade 20260101T000000Z
    xl_snapshot_there revert web1
    refused 2 "which snapshot? give name= or path=, or one of: \
$snapshots/web1/20260101T000000Z/snapshot.cfg \
$snapshots/web1/before-upgrade/snapshot.cfg"
    xl_snapshot_there revert 'w*1'
    refused 2 "which snapshot? give name= or path=, or its snapshot.cfg (none \
was found as $snapshots/w*1/*/snapshot.cfg)"
}

@test "neither name nor path, and there are many" {
    with_snapshots s{a..l}
    xl_snapshot_there revert web1
    refused 2 "which snapshot? give name= or path=, or one of:$(
        printf " $snapshots/web1/s%s/snapshot.cfg" a b c d e f g h) (and 4 more)"
}

@test "a name finds it where it is by default" {
    with_snapshots before-upgrade
    xl_snapshot_there revert web1 name=before-upgrade
    # it says itself that it is somewhere else, but that was not asked
    no_xen
}

@test "an id, or a name that is no directory's, finds nothing by itself" {
    xl_snapshot revert 12 name=x
    refused 2 "snapshots are filed by the domain's name, not its id '12': give \
the name, path= or the snapshot.cfg"
    xl_snapshot revert -d ../etc name=x
    refused 2 "domain name '../etc' is no name for a directory; say where the \
snapshot is (path=)"
    xl_snapshot revert -d .. name=x
    refused 2 "domain name '..' is no name for a directory; say where the \
snapshot is (path=)"
}

@test "a file that is no snapshot.cfg" {
    sed -i '/memory_digest/d' snap/snapshot.cfg
    xl_snapshot revert snap/snapshot.cfg
    refused 2 "'snap/snapshot.cfg' is not a snapshot.cfg that snapshot-create \
wrote (uuid or memory_digest is missing)"
    xl_snapshot revert web1.cfg
    refused 2 "'$PWD/snap/snapshot.cfg' is not a snapshot.cfg that \
snapshot-create wrote (uuid or memory_digest is missing)"
    cp web1.cfg snap/snapshot.cfg
    xl_snapshot revert web1.cfg
    refused 2 "'$PWD/snap/snapshot.cfg' is not a snapshot.cfg that \
snapshot-create wrote (uuid or memory_digest is missing)"
}

@test "a snapshot.cfg that is damaged" {
    sed -i 's/^live = 1/live = 2/' snap/snapshot.cfg
    xl_snapshot revert web1.cfg
    refused 2 "$PWD/snap/snapshot.cfg:6: live: '2': must be 0 or 1"
}

@test "a snapshot.cfg of a newer version" {
    sed -i 's/^snapshot_format = 1/snapshot_format = 2/' snap/snapshot.cfg
    xl_snapshot revert web1.cfg
    refused 2 "$PWD/snap/snapshot.cfg:1: snapshot_format: '2': is of a newer \
xl-snapshot than this one, which knows 1"
}

@test "a contradicting name" {
    config "path = '$PWD/snap'" 'name = "other"'
    xl_snapshot revert web1.cfg
    refused 2 "web1.cfg:3: name 'other' contradicts the snapshot's own \
'before-upgrade'"
    xl_snapshot revert snap/snapshot.cfg name=other
    refused 2 "name 'other' contradicts the snapshot's own 'before-upgrade'"
}

@test "a contradicting domain" {
    xl_snapshot revert -d web2 web1.cfg
    refused 2 "domain 'web2' contradicts the snapshot's own 'web1'"
    xl_snapshot revert -d web2 snap/snapshot.cfg
    refused 2 "domain 'web2' contradicts the snapshot's own 'web1'"
}

@test "a contradicting path or memory" {
    mkdir moved
    cp snap/snapshot.cfg moved/
    xl_snapshot revert web1 path=moved
    refused 2 "path '$PWD/moved' contradicts the snapshot's own '$PWD/snap'"
    config "path = '$PWD/snap'" 'memory = "m"'
    xl_snapshot revert web1.cfg
    refused 2 "web1.cfg:3: memory '$PWD/m' contradicts the snapshot's own \
'$PWD/snap/memory.save'"
}

@test "contradicting disks" {
    config "path = '$PWD/snap'" 'disks = [ ",,xvdc" ]'
    xl_snapshot revert web1.cfg
    refused 2 "web1.cfg:3: the snapshot has no disk 'xvdc'"
    config "path = '$PWD/snap'" 'disks = [ "/srv/x,,xvda" ]'
    xl_snapshot revert web1.cfg
    refused 2 "web1.cfg:3: disk 'xvda': 'external /srv/x' contradicts the \
snapshot's own 'internal'"
    xl_snapshot revert web1.cfg 'disks=[ "/srv/other,,xvdb" ]'
    refused 2 "disk 'xvdb': 'external /srv/other' contradicts the snapshot's \
own 'external /srv/b-x'"
}

@test "what only snapshot.cfg can say, in a request" {
    xl_snapshot revert web1.cfg creation_time=1
    refused 2 "'creation_time' belongs to snapshot.cfg only"
    xl_snapshot revert web1.cfg uuid=1b4e28ba-2fa1-11d2-883f-0016d3cca427
    refused 2 "'uuid' belongs to snapshot.cfg only"
    config "path = '$PWD/snap'" 'disks = [ "vdev=xvda,source=/x" ]'
    xl_snapshot revert web1.cfg
    refused 2 "web1.cfg:3: disk 'xvda': source= belongs to snapshot.cfg only"
}

@test "another uuid or digest than the snapshot's" {
    local uuid=1b4e28ba-2fa1-11d2-883f-0016d3cca428

    xl_snapshot revert snap/snapshot.cfg uuid=$uuid
    refused 2 "uuid '$uuid' contradicts the snapshot's own \
'1b4e28ba-2fa1-11d2-883f-0016d3cca427'"
    xl_snapshot revert snap/snapshot.cfg \
        memory_digest=xxh3-128:00000000000000000000000000000000
    refused 2 "memory_digest 'xxh3-128:00000000000000000000000000000000' \
contradicts the snapshot's own 'xxh3-128:00112233445566778899aabbccddeeff'"
}

@test "recover takes a domain, a config or nothing" {
    for words in '' web1 '-d web1' web1.cfg snap/snapshot.cfg; do
        # shellcheck disable=SC2086  # words
        xl_snapshot recover $words
        no_xen
    done
    xl_snapshot recover nowhere.cfg
    refused 2 "cannot read 'nowhere.cfg': No such file or directory"
}
