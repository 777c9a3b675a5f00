# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The lab's machine: one QEMU per lab, in a directory of its own with its
# disk, its logs, and the process id and start time by which it is known. No
# other process is ever signalled. Part of "lab".

# ---- processes -----------------------------------------------------------

# The start time of process $1, in clock ticks since boot; fails if it has
# ended (a zombie has).
start_time()
{
    local stat

    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    [ "${stat%% *}" != Z ] || return 1
    # shellcheck disable=SC2086
    set -- $stat
    echo "${20}"
}

# Whether the process noted in file $1, as "PID START-TIME", still runs; sets
# pid.
noted_runs()
{
    local started

    { read -r pid started <"$1"; } 2>/dev/null &&
        [ "$(start_time "$pid")" = "$started" ]
}

is_running()
{
    noted_runs "$dir/pid"
}

# end_process SIGNAL SECONDS: signals QEMU; 0 when it has gone in time.
end_process()
{
    local tries=$(($2 * 20))

    is_running || return 0
    kill "-$1" "$pid" 2>/dev/null || true
    while is_running; do
        [ $((tries--)) -gt 0 ] || return 1
        sleep 0.05
    done
}

# For a subshell that may outlive this process: its descriptors above 2 are
# somebody else's (the lock; bats waits for all who hold its descriptor 3).
close_fds()
{
    local fd

    for fd in "/proc/$BASHPID/fd"/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
}

# Ends QEMU when the process "$1" with the start time "$2" has ended.
watch_owner()
{
    while is_running; do
        if [ "$(start_time "$1")" != "$2" ]; then
            end_process TERM 3 || end_process KILL 10
            break
        fi
        sleep 0.5
    done
}

# ---- start ---------------------------------------------------------------

parse_start()
{
    owner='' again='' keep='' cache=unsafe mem=4096 dom0_mem=2048 cpus=1
    timeout=180 extra=() volatile='' torn=0
    while [ $# -gt 0 ]; do
        case $1 in
        --again) again=1; shift; continue ;;
        --volatile) volatile=1; shift; continue ;;
        --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --) shift; break ;;
        --*) ;;
        *) break ;;
        esac
        [ $# -gt 1 ] || usage "start $1: an argument is missing"
        case $1 in
        --owner) owner=$2 ;;
        --mem) mem=$2 ;;
        --dom0-mem) dom0_mem=$2 ;;
        --cpus) cpus=$2 ;;
        --cache) cache=$2 ;;
        --torn) torn=$2 ;;
        --extra-disk) extra+=("$2") ;;
        --keep-disk) keep=$(realpath -m "$2") ;;
        --timeout) timeout=$2 ;;
        *) usage "start has no option $1" ;;
        esac
        shift 2
    done
    rest=("$@")
}

cmd_start()
{
    parse_start "$@"
    [ ${#rest[@]} -eq 0 ] || usage "start: what is '${rest[0]}'?"
    start
}

start()
{
    local started owner_start=''

    [ -z "$owner" ] || owner_start=$(start_time "$owner") ||
        die "there is no process $owner"
    build
    make_dir
    exec {lock}>"$dir/lock"
    flock -n "$lock" || die "lab '$name' is being started"
    ! is_running || die "lab '$name' runs already"
    started=$EPOCHREALTIME
    make_disks
    : >"$dir/console.log"
    # A lab that does not come up, for whatever reason, leaves no QEMU.
    trap 'end_process KILL 10' EXIT
    trap 'exit 130' INT TERM HUP
    start_qemu
    if [ -n "$owner" ]; then
        (
            close_fds
            trap - EXIT INT TERM HUP
            watch_owner "$owner" "$owner_start"
        ) </dev/null >/dev/null 2>&1 &
    fi
    await_ready
    trap - EXIT INT TERM HUP
    exec {lock}>&-
    echo "lab: lab '$name' is ready after $(since "$started") s"
}

since()
{
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'
}

make_dir()
{
    mkdir -p -m 700 "$run_root" "$dir"
    [ -O "$run_root" ] && [ ! -L "$run_root" ] ||
        die "$run_root is somebody else's"
    chmod 700 "$run_root" "$dir"
}

make_disks()
{
    local i base

    base=$(base_path)
    if [ -n "$volatile" ]; then
        make_volatile_disks "$base"
        return
    fi
    disk=${keep:-$dir/disk.qcow2}
    if [ -n "$again" ]; then
        [ -e "$disk" ] || die "lab '$name' has no disk to boot again"
    elif [ -z "$keep" ] || [ ! -e "$keep" ]; then
        rm -f "$disk" "$dir"/extra-*
        qemu-img create -q -f qcow2 -F raw -b "$base/disk.raw" "$disk"
    fi
    for i in "${!extra[@]}"; do
        [ -n "$again" ] && [ -e "$dir/extra-$i.qcow2" ] ||
            qemu-img create -q -f qcow2 "$dir/extra-$i.qcow2" "${extra[i]}"
    done
}

# Each disk is a raw image with all that is safe, an overlay on that for QEMU to
# write to, and the log of those writes: see replay.c.
make_volatile_disks()
{
    local i

    for i in disk "${!extra[@]}"; do
        if [ -n "$again" ]; then
            [ -e "$dir/volatile-$i.raw" ] ||
                die "lab '$name' has no such disk to boot again"
            replay "$dir/volatile-$i"
        elif [ "$i" = disk ]; then
            cp --sparse=always --reflink=auto "$1/disk.raw" \
                "$dir/volatile-$i.raw"
        else
            rm -f "$dir/volatile-$i.raw"
            truncate -s "${extra[i]}" "$dir/volatile-$i.raw"
        fi
        qemu-img create -q -f qcow2 -F raw -b "$dir/volatile-$i.raw" \
            "$dir/volatile-$i.qcow2"
        : >"$dir/volatile-$i.log"
    done
}

# A lab that was never started has an empty log.
replay()
{
    [ -x "$dir/replay" ] || cc -O2 -o "$dir/replay" "$lab_dir/replay.c"
    [ ! -s "$1.log" ] || "$dir/replay" "$1.log" "$1.raw" "$torn" >&2
}

# Without "write zeroes": that driver has its log muddled by two at once.
volatile_args()
{
    local i

    for i in disk "${!extra[@]}"; do
        qemu+=(-blockdev "{\"driver\": \"blklogwrites\", \"node-name\": \"d$i\",
            \"file\": {\"driver\": \"qcow2\", \"cache\": {\"no-flush\": true},
                \"file\": {\"driver\": \"file\",
                    \"filename\": \"$dir/volatile-$i.qcow2\"}},
            \"log\": {\"driver\": \"file\", \"cache\": {\"no-flush\": true},
                \"filename\": \"$dir/volatile-$i.log\"}}"
            -device "virtio-blk-pci,drive=d$i,discard=off,write-zeroes=off")
    done
    # A write to that port ends QEMU at once: it flushes nothing.
    qemu+=(-device isa-debug-exit,iobase=0xf4,iosize=4)
}

# The CPU is what was found to be stable: SMAP kills a PV dom0, XSAVE and AVX
# corrupt its user space, RDTSCP confuses nested SVM, and more than one
# vCPU or thread makes HVM and PVH guests fail now and then.
set_qemu_args()
{
    local base boot threads=single xen i

    base=$(base_path)
    boot=$(boot_path)
    [ "$cpus" -eq 1 ] || threads=multi
    xen="console=com1 com1=115200,8n1 loglvl=warning bootscrub=0"
    xen+=" dom0_mem=${dom0_mem}M,max:${dom0_mem}M"
    qemu=(qemu-system-x86_64 -name "xl-snapshot-lab-$name"
        -machine q35 -accel "tcg,thread=$threads" -smp "$cpus" -m "$mem"
        -cpu max,-smap,-smep,-rdtscp,-xsave,-avx,-avx2
        -nodefaults -no-user-config -display none -no-reboot
        -serial "file:$dir/console.log"
        -kernel "$base/xen.elf" -append "$xen"
        -initrd "$base/vmlinux console=hvc0 net.ifnames=0 panic=1 quiet,\
$boot/initrd.img"
        -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22
        -device virtio-net-pci,netdev=net,romfile=
        -device virtio-rng-pci)
    if [ -n "$volatile" ]; then
        volatile_args
        return
    fi
    qemu+=(-drive "file=$disk,format=qcow2,if=virtio,cache=$cache")
    for i in "${!extra[@]}"; do
        qemu+=(-drive
            "file=$dir/extra-$i.qcow2,format=qcow2,if=virtio,cache=$cache")
    done
}

start_qemu()
{
    local port='' tries=0

    set_qemu_args
    rm -f "$dir/pid" "$dir/port"
    boot_path >"$dir/boot"
    (
        close_fds
        exec setsid "${qemu[@]}"
    ) </dev/null >"$dir/qemu.log" 2>&1 &
    pid=$!
    disown
    echo "$pid $(start_time "$pid")" >"$dir/pid"
    until port=$(listening_port "$pid") && [ -n "$port" ]; do
        is_running || failed "QEMU has ended"
        [ $((tries++)) -lt 200 ] || failed "QEMU does not listen"
        sleep 0.05
    done
    echo "$port" >"$dir/port"
}

# The port that the kernel chose for process $1, which listens on one only.
listening_port()
{
    local inodes

    inodes=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null |
        tr -dc '0-9\n')
    awk -v inodes="$inodes" '
        BEGIN { n = split(inodes, list); while (n) mine[list[n--]] = 1 }
        $4 == "0A" && mine[$10] { split($2, a, ":"); print a[2] }
    ' /proc/net/tcp | while read -r hex; do echo $((16#$hex)); done
}

await_ready()
{
    local deadline=$((SECONDS + timeout))

    until grep -aq '^LAB READY' "$dir/console.log"; do
        is_running || failed "QEMU has ended"
        if grep -aqE '^LAB FAILED|Panic on CPU|Kernel panic' \
            "$dir/console.log"; then
            failed "dom0 did not come up"
        fi
        [ "$SECONDS" -lt "$deadline" ] || failed "not ready in $timeout s"
        sleep 0.1
    done
    until start_ssh_master; do
        is_running || failed "QEMU has ended"
        [ "$SECONDS" -lt "$deadline" ] || failed "no way in by ssh"
        sleep 0.5
    done
}

failed()
{
    {
        echo "lab: lab '$name': $1; the console log ends:"
        tail -n 30 "$dir/console.log" | tr -d '\r'
        cat "$dir/qemu.log"
    } >&2
    exit 1
}

# ---- end -----------------------------------------------------------------

cmd_stop()
{
    [ $# -eq 0 ] || usage "stop takes no argument"
    end_process TERM 10 || end_process KILL 10
    rm -f "$dir/pid" "$dir/port"
}

cmd_cut()
{
    is_running || die "lab '$name' does not run"
    end_process KILL 10
    rm -f "$dir/pid" "$dir/port"
}

cmd_clean()
{
    cmd_stop
    rm -rf "$dir"
}

# The command runs in the background, so that a signal is acted on at once,
# and in a process group of its own, so that all of it can be ended; but not
# if that would take the terminal away from it.
cmd_with()
{
    local status=0 child

    parse_start "$@"
    [ ${#rest[@]} -gt 0 ] || usage "with: a command is needed"
    owner=$$
    start >&2
    trap cmd_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    export LAB_NAME=$name
    if [ -t 0 ]; then
        env --default-signal=INT,QUIT "${rest[@]}" <&0 &
        child=$!
    else
        set -m
        "${rest[@]}" <&0 &
        set +m
        child=-$!
    fi
    # shellcheck disable=SC2064  # now
    trap "kill -TERM -- $child 2>/dev/null; cmd_stop" EXIT
    wait "${child#-}" || status=$?
    trap - EXIT
    cmd_stop
    return "$status"
}

# ---- look ----------------------------------------------------------------

show_status()
{
    if is_running; then
        echo "$name running pid=$pid port=$(cat "$dir/port" 2>/dev/null)" \
            "for=$(ps -o etime= -p "$pid" | tr -d ' ')"
    else
        echo "$name stopped"
        return 3
    fi
}

cmd_status()
{
    local each status=0

    if [ "${1:-}" = -a ]; then
        for each in "$run_root"/*/; do
            [ -d "$each" ] || continue
            set_name "$(basename "$each")"
            show_status || status=$?
        done
    else
        show_status || status=$?
    fi
    return "$status"
}

cmd_console()
{
    if [ "${1:-}" = -f ]; then
        exec tail -n 100 -f "$dir/console.log"
    fi
    echo "$dir/console.log"
}
