# SPDX-License-Identifier: LGPL-2.1-or-later
# What the stand-ins of vhd-util and tap-ctl share: their images.
# shellcheck shell=bash
#
# Neither program is in Debian. These behave as blktap's do, as far as
# xl-snapshot can see: commands, options, what is printed where, exit statuses
# (errno values), what is overwritten, a footer that is away while an image is
# in use. They refuse whatever else they are asked.
#
# An "image" is not a VHD inside: a genuine VHD footer (a copy of it first, as
# in a dynamic one), a text that says which parent it has, and the disk's data,
# all of it, in one piece:
#
#     0  footer   512  text   4096  data   4096 + size  footer
#
# A child gets its parent's data when it is opened for the first time, which
# looks the same to whoever writes to it as reading through to the parent does;
# and no parent may change after that: stricter than blktap. As is this: a
# snapshot of an image that a tapdisk has open fails.

data_at=4096
ENOENT=2
EBUSY=16
EINVAL=22

fake_dir=${FAKE_TAPDISK_DIR:-/run/fake-tapdisk}

# Fails as the file "fail" says: lines of "PROGRAM COMMAND STATUS [NTH]"; with NTH
# in that call only.
fail_if_told()
{
    local program command code nth calls

    [ -f "$fake_dir/fail" ] || return 0
    while read -r program command code nth; do
        [ "$program $command" = "${0##*/} $1" ] || continue
        [ "$nth" ] || exit "$code"
        echo >>"$fake_dir/fail.$command"
        mapfile calls <"$fake_dir/fail.$command"
        [ "${#calls[@]}" -ne "$nth" ] || exit "$code"
    done <"$fake_dir/fail"
}

# hex FILE AT BYTES: sets $hex. In the lab every process costs: so od, and
# results in variables.
hex()
{
    hex=$(od -An -v -tx1 -w512 -j "$2" -N "$3" "$1" 2>/dev/null)
    hex=${hex//[$' \n']/}
}

# The checksum of a footer in hex: not the sum of its bytes, itself left out.
# Sets $checksum.
footer_checksum()
{
    local i sum=0

    for ((i = 0; i < 172; i += 2)); do
        ((i >= 128 && i < 136)) || ((sum += 0x${1:i:2}))
    done
    printf -v checksum '%08x' $((~sum & 0xffffffff))
}

# put_footer FILE AT TYPE SIZE UUID HIDDEN
put_footer()
{
    local f

    printf -v f '%s' 636f6e6563746978 00000002 00010000 0000000000000200 \
        00000000 74617000 00010003 00000000
    printf -v f '%s%016x%016x03ff103f%08x00000000%s00%02x' "$f" "$4" "$4" \
        "$3" "$5" "$6"
    footer_checksum "$f"
    f=${f:0:128}$checksum${f:136}
    while [ ${#f} -lt 1024 ]; do
        f+=0000000000000000
    done
    f=${f:0:1024}
    # shellcheck disable=SC2001,SC2059
    printf "$(sed 's/../\\x&/g' <<<"$f")" |
        dd of="$1" oflag=seek_bytes seek="$2" conv=notrunc status=none
}

# Is there a footer? Sets f_type, f_size, f_uuid, f_hidden.
get_footer()
{
    hex "$1" "$2" 86
    [ "${hex:0:16}" = 636f6e6563746978 ] || return
    footer_checksum "$hex"
    [ "${hex:128:8}" = "$checksum" ] || return
    f_size=$((0x${hex:96:16}))
    f_type=$((0x${hex:120:8}))
    f_uuid=${hex:136:32}
    f_hidden=$((0x${hex:170:2}))
}

# put_text FILE: v_parent, v_parent_uuid, v_virgin, v_sum
put_text()
{
    printf 'a stand-in of a VHD image\nparent=%s\nparent_uuid=%s\nvirgin=%s\nsum=%s\nend\n%2048s' \
        "$v_parent" "$v_parent_uuid" "$v_virgin" "$v_sum" "" |
        head -c 2048 |
        dd of="$1" oflag=seek_bytes seek=512 conv=notrunc status=none
}

# Reads an image; or returns an errno value.
load()
{
    local line

    [ -e "$1" ] || return "$ENOENT"
    [ -f "$1" ] || return "$EINVAL"
    get_footer "$1" 0 || return "$EINVAL"
    v_parent='' v_parent_uuid='' v_virgin='' v_sum=''
    while read -r line; do
        case $line in
        parent=*) v_parent=${line#*=} ;;
        parent_uuid=*) v_parent_uuid=${line#*=} ;;
        virgin=*) v_virgin=${line#*=} ;;
        sum=*) v_sum=${line#*=} ;;
        end) return 0 ;;
        esac
    done < <(dd if="$1" bs=512 skip=1 count=4 status=none)
    return "$EINVAL"
}

# Where the loaded image has its footer.
end_of()
{
    end=$((data_at + f_size))
}

# The parent of the loaded image FILE, found from where that really is. Sets
# $parent.
parent_of()
{
    local real=$1

    if [ -L "$1" ] || [ "${1:0:1}" != / ]; then
        real=$(realpath "$1")
    fi
    case $v_parent in
    ./*) parent=${real%/*}/${v_parent#./} ;;
    *) parent=$(realpath -m -s "${real%/*}/$v_parent") ;;
    esac
}

# Of the data; no more is needed than to see a change.
data_sum()
{
    local sum

    sum=$(dd if="$1" iflag=skip_bytes,count_bytes skip="$data_at" \
        count="$2" bs=1M status=none | cksum)
    echo "${sum%% *}"
}

# copy_data FROM TO BYTES
copy_data()
{
    dd if="$1" of="$2" iflag=skip_bytes,count_bytes skip="$data_at" \
        count="$3" oflag=seek_bytes seek="$data_at" bs=1M conv=notrunc \
        status=none
}

# The image that is being served under that name, if any: its minor.
served_as()
{
    local f

    for f in "$fake_dir"/*.vbd; do
        [ -f "$f" ] || continue
        # shellcheck disable=SC2034
        local pid='' state='' args='' real=''
        # shellcheck disable=SC1090
        . "$f"
        [ "$state" = 0 ] && [ "$real" -ef "$1" ] && return 0
    done
    return 1
}
