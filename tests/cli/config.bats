#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Configs and KEY=VALUE that make no sense: 2 and one line that names file and
# line.  What each key may be is tested in tests/unit/cfg_*_test.c.

load helpers

# config LINE...: as web1.cfg
config()
{
    printf '%s\n' "$@" >web1.cfg
}

@test "no such file" {
    xl_snapshot create web1.cfg
    refused 2 "cannot read 'web1.cfg': No such file or directory"
    xl_snapshot create /nonexistent/web1
    refused 2 "cannot read '/nonexistent/web1': No such file or directory"
}

@test "a word is a file by its looks, or by being one; else a domain" {
    config 'domain = "web1"' 'nmae = "x"'
    cp web1.cfg regular
    mkdir directory
    for word in web1.cfg ./regular regular; do
        xl_snapshot create "$word"
        refused 2 "$word:2: unknown key 'nmae' (did you mean 'name'?)"
    done
    for word in directory web1 12; do
        xl_snapshot create "$word"
        no_xen
    done
    xl_snapshot create -d regular
    no_xen
}

@test "a directory, a fifo, a device" {
    mkdir dir.cfg
    mkfifo fifo.cfg
    xl_snapshot create dir.cfg
    refused 2 "cannot read 'dir.cfg': it is a directory"
    xl_snapshot create fifo.cfg
    refused 2 "cannot read 'fifo.cfg': it is not a regular file"
    xl_snapshot create /dev/zero
    refused 2 "cannot read '/dev/zero': it is not a regular file"
}

@test "a file that may not be read" {
    config 'domain = "web1"'
    chmod 000 web1.cfg
    # root without its capabilities
    run --separate-stderr "${as_root[@]}" setpriv --bounding-set=-all \
        "$xl_snapshot" create web1.cfg
    refused 2 "cannot read 'web1.cfg': Permission denied"
}

@test "a binary" {
    cp "$xl_snapshot" web1.cfg
    truncate -s 5000 web1.cfg
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:1: control character 0x7f"
}

@test "a NUL byte" {
    printf 'domain = "web1"\nname = "a\0b"\n' >web1.cfg
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: not a text file: it has a NUL byte"
}

@test "text that is not UTF-8" {
    printf 'domain = "web1"\ndescription = "\xe4"\n' >web1.cfg
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: not UTF-8 text"
}

@test "a line of 10 MB" {
    (printf 'name = "' && head -c 10000000 /dev/zero | tr '\0' a && echo '"') \
        >web1.cfg
    xl_snapshot create web1.cfg
    refused 2 "cannot read 'web1.cfg': it is larger than 1048576 bytes"
}

@test "a sparse file of 1 TB" {
    truncate -s 1T web1.cfg || truncate -s 1G web1.cfg
    xl_snapshot create web1.cfg
    refused 2 "cannot read 'web1.cfg': it is larger than 1048576 bytes"
}

@test "an unknown key" {
    config 'domain = "web1"' 'frobnicate = 1'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: unknown key 'frobnicate' (known: compress, \
description, disks, domain, live, memory, name, path, type)"
}

@test "a key given twice" {
    config 'name = "a"' 'domain = "web1"' 'name = "b"'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:3: 'name' is given twice, first on line 1"
}

@test "a bad name" {
    config 'domain = "web1"' 'name = "../x"'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: snapshot name '../x' starts with '.'"
    config 'domain = "web1"' 'name = "a b"'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: snapshot name 'a b' has other characters than \
letters, digits and _ . + -"
}

@test "a bad DISKSPEC" {
    config 'domain = "web1"' 'disks = [ ",,xvda",' '"vdev=xvdb,snapshot=x" ]'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:3: disks[1]: 'snapshot=x': must be internal, external, \
overlay or no"
    config 'domain = "web1"' 'disks = [ "xvda" ]'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: disks[0]: 'xvda': must be TARGET,FORMAT,VDEV or \
vdev=VDEV,KEY=VALUE,..."
}

@test "a value of the wrong type" {
    config 'domain = "web1"' 'live = [ 1 ]'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: live: must be a single value, not a list"
}

@test "a string that does not end" {
    config 'domain = "web1'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:1: lexical error near '\"web1'"
}

@test "XML, which this version does not know" {
    echo '<domainsnapshot/>' >web1.xml
    local command

    for command in create revert recover; do
        xl_snapshot "$command" web1.xml
        refused 2 "'web1.xml': libvirt XML is not supported by this version"
    done
}

@test "KEY=VALUE of an unknown key" {
    xl_snapshot create web1 nmae=x
    refused 2 "KEY=VALUE 'nmae=x': unknown key 'nmae' (did you mean 'name'?)"
}

@test "KEY=VALUE twice" {
    xl_snapshot create web1 name=a name=b
    refused 2 "KEY=VALUE 'name=b': 'name' is given twice on the command line"
}

@test "KEY+=VALUE" {
    xl_snapshot create web1 name+=a
    refused 2 "KEY=VALUE 'name+=a': '+=' is not possible, give the whole value"
    xl_snapshot create name+=a
    refused 2 "KEY=VALUE 'name+=a': '+=' is not possible, give the whole value"
}

@test "KEY=VALUE with an unsound value" {
    xl_snapshot create web1 live=yes
    refused 2 "KEY=VALUE 'live=yes': live: 'yes': must be 0 or 1"
    xl_snapshot create web1 type=overlay
    refused 2 "KEY=VALUE 'type=overlay': type: 'overlay': must be internal or \
external"
    xl_snapshot create web1 'disks=[",,xvda"'
    refused 2 "KEY=VALUE 'disks=[\",,xvda\"': syntax error at the end of the \
file: unexpected \$end, expecting ']'"
}

@test "an argument that is no KEY=VALUE" {
    config 'domain = "web1"'
    for word in x =x ./a=b; do
        xl_snapshot create web1.cfg "$word"
        refused 2 "'$word' is not KEY=VALUE (see 'xl snapshot-create --help')"
    done
}

@test "what only snapshot.cfg can say" {
    local uuid=1b4e28ba-2fa1-11d2-883f-0016d3cca427
    local digest=xxh3-128:00112233445566778899aabbccddeeff

    config 'domain = "web1"' "uuid = '$uuid'"
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: 'uuid' belongs to snapshot.cfg only"
    xl_snapshot create web1 "memory_digest=$digest"
    refused 2 "'memory_digest' belongs to snapshot.cfg only"
    xl_snapshot create web1 creation_time=1
    refused 2 "'creation_time' belongs to snapshot.cfg only"
    config 'domain = "web1"' 'disks = [ ",,xvda", "vdev=xvdb,source=/x" ]'
    xl_snapshot create web1.cfg
    refused 2 "web1.cfg:2: disk 'xvdb': source= belongs to snapshot.cfg only"
    xl_snapshot create web1 'disks=[ "vdev=xvdb,source=/x" ]'
    refused 2 "disk 'xvdb': source= belongs to snapshot.cfg only"
    xl_snapshot create web1 'disks=[ "vdev=xvdb,source_format=raw" ]'
    refused 2 "disk 'xvdb': source_format= belongs to snapshot.cfg only"
    config 'domain = "web1"' "uuid = '$uuid'" "memory_digest = '$digest'"
    xl_snapshot create web1.cfg
    refused 2 "'web1.cfg' is the snapshot.cfg of a snapshot that exists; \
create needs a config of yours"
}

@test "the examples are sound" {
    local file

    for file in "$repo"/cfg/examples/*.cfg; do
        xl_snapshot create "$file"
        no_xen
    done
}

@test "error lines are one line, whatever the names" {
    xl_snapshot create $'a\nb\e[31m.cfg'
    refused 2 "cannot read 'a?b?[31m.cfg': No such file or directory"
}
