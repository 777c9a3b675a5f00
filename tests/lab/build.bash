# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The lab's images, made once and kept under the hash of all they are made
# of, in two stages: "base", dom0's disk, Xen and the kernel, takes a minute;
# "boot", dom0's initramfs with the lab's own files, the oracle guest and
# the keys, a few seconds. Part of "lab".

# The key of a stage: a hash over the content of the files named.
key_of()
{
    (cd "$lab_dir" && sha256sum -- "$@") | sha256sum | cut -c 1-16
}

base_path()
{
    echo "$cache_dir/base-$(key_of packages build.bash)"
}

boot_path()
{
    local files

    mapfile -t files < <(cd "$lab_dir" && find dom0 guest oracle -type f |
        LC_ALL=C sort)
    echo "$cache_dir/boot-$(key_of packages build.bash "${files[@]}")"
}

# COMMAND PACKAGE pairs.
host_needs="
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
mmdebstrap mmdebstrap
mke2fs e2fsprogs
ssh openssh-client
cpio cpio
gcc gcc
xz xz-utils
flock util-linux
setsid util-linux
"

check_host()
{
    local command package missing=()

    while read -r command package; do
        [ -z "$command" ] || command -v "$command" >/dev/null ||
            missing+=("$package")
    done <<<"$host_needs"
    [ ${#missing[@]} -eq 0 ] ||
        die "packages missing on this machine: ${missing[*]}"
}

cmd_build()
{
    [ $# -eq 0 ] || usage "build takes no argument"
    build
    echo "$(base_path)"
    echo "$(boot_path)"
}

# Both stages, unless they are there.
build()
{
    check_host
    mkdir -p "$cache_dir"
    build_stage base "$(base_path)"
    build_stage boot "$(boot_path)"
}

# build_stage STAGE PATH: runs make_STAGE in a directory that becomes PATH.
build_stage()
{
    local path=$2 tmp=$2.tmp started=$SECONDS status

    [ ! -d "$path" ] || return 0
    exec {lock}>"$cache_dir/$1.lock"
    flock "$lock"
    if [ ! -d "$path" ]; then
        echo "lab: building $path" >&2
        rm -rf "$tmp"
        mkdir "$tmp"
        # Not "|| die": the shell would go on after errors in there.
        set +e
        (set -e; cd "$tmp"; umask 022; "make_$1")
        status=$?
        set -e
        [ "$status" -eq 0 ] || die "build failed; see $tmp/log"
        mv "$tmp" "$path"
        echo "lab: built in $((SECONDS - started)) s" >&2
    fi
    exec {lock}>&-
}

# ---- base ----------------------------------------------------------------

# The machine's own Debian mirrors; without one, Debian's.
apt_sources()
{
    local format='$(REPO_URI) $(RELEASE)' keyring uri suite found=

    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    while read -r uri suite; do
        [[ $suite == bookworm || $suite == bookworm-* ]] || continue
        found=1
        echo "deb [signed-by=$keyring] $uri $suite main"
    done < <(apt-get indextargets --format "$format" 2>/dev/null | sort -u)
    [ -n "$found" ] ||
        echo "deb [signed-by=$keyring] http://deb.debian.org/debian bookworm main"
}

make_base()
{
    [ "$(id -u)" -eq 0 ] || die "only root can build the base image"
    make_root >log 2>&1
    make_kernels >>log 2>&1
    mke2fs -q -t ext4 -m 0 -L lab-root -d root disk.raw 12G >>log 2>&1
    rm -rf root
}

make_root()
{
    local packages

    packages=$(grep -v '^#' "$lab_dir/packages" | paste -sd, -)
    apt_sources >sources
    cat sources
    # No initramfs: the lab has its own.
    INITRD=No mmdebstrap --mode=root --variant=minbase \
        --aptopt='APT::Install-Recommends "false"' \
        --include="$packages" bookworm root sources
    rm -f root/etc/ssh/ssh_host_*
    rm -rf root/var/cache/apt root/var/lib/apt/lists
    mkdir -p root/var/cache/apt/archives/partial
}

# What is needed outside the disk: Xen, kernels, modules. Kernels are
# unpacked: that takes seconds in an emulated CPU, at each start of a guest.
make_kernels()
{
    local version

    version=$(ls root/lib/modules)
    zcat root/boot/xen-4.17-amd64.gz >xen.elf
    cp "root/boot/vmlinuz-$version" vmlinuz
    unpack_kernel vmlinuz >vmlinux
    mkdir -p root/usr/local/lib/lab
    cp vmlinuz vmlinux root/usr/local/lib/lab/
    cp root/bin/busybox busybox
    take_modules "$version" dom0 virtio_pci virtio_blk ext4
    take_modules "$version" guest xen-blkfront xen-netfront
}

# The ELF in a bzImage: an xz stream that ends before the image does.
unpack_kernel()
{
    local offset

    offset=$(LC_ALL=C grep -abom 1 -P '\xFD7zXZ\x00' "$1" | head -n 1 |
        cut -d : -f 1)
    tail -c "+$((offset + 1))" "$1" | xz -dcq 2>/dev/null || true
}

# take_modules VERSION DIR MODULE...: the modules and all they need, in
# DIR/modules, and the order to load them in, in a file there.
take_modules()
{
    local version=$1 into=$2 path

    mkdir -p "$into/modules"
    chroot root modprobe --show-depends -a -S "$version" "${@:3}" |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$into/paths"
    while read -r path; do
        case $path in
        *.xz) xz -dc "root$path" >"$into/modules/$(basename "$path" .xz)" ;;
        *) cp "root$path" "$into/modules/" ;;
        esac
        basename "$path" .xz
    done <"$into/paths" >"$into/modules/order"
    rm "$into/paths"
}

# ---- boot ----------------------------------------------------------------

make_boot()
{
    local base

    base=$(base_path)
    {
        make_keys
        make_guest "$base"
        make_initrd "$base"
    } >log 2>&1
    rm -rf guest dom0
}

make_keys()
{
    ssh-keygen -q -t ed25519 -N '' -C lab -f key
    ssh-keygen -q -t ed25519 -N '' -C lab -f host_key
    sed 's/^/lab /' host_key.pub >known_hosts
}

# initramfs DIR APPLET...: the busybox commands and a cpio archive of DIR.
initramfs()
{
    local tree=$1 applet

    mkdir -p "$tree"/{bin,sbin,proc,sys,dev}
    cp "$base/busybox" "$tree/bin/"
    for applet in "${@:2}"; do
        ln -s busybox "$tree/bin/$applet"
    done
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0)
}

make_guest()
{
    local base=$1 tree=guest

    mkdir -p "$tree/bin" "$tree/sbin"
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -pthread \
        -o "$tree/bin/oracle" "$lab_dir"/oracle/*.c
    cp -r "$base/guest/modules" "$tree/modules"
    cp "$lab_dir/guest/init" "$tree/init"
    cp "$lab_dir/guest/shutdown" "$tree/sbin/poweroff"
    cp "$lab_dir/guest/shutdown" "$tree/sbin/reboot"
    initramfs "$tree" sh mount insmod sleep stty cat wc killall pidof sync \
        >guest.img
}

make_initrd()
{
    local base=$1 tree=dom0 over=dom0/overlay lib

    lib=$over/usr/local/lib/lab
    mkdir -p "$lib" "$tree/sysroot" "$over/etc/ssh" "$over/usr/local/bin"
    cp -r "$base/dom0/modules" "$tree/"
    cp "$lab_dir/dom0/init" "$tree/init"
    cp "$lab_dir/dom0/rc" "$lab_dir/dom0/ready" guest.img "$lib/"
    cp "$lab_dir/dom0/inittab" "$over/etc/"
    cp "$lab_dir/dom0/labguest" "$over/usr/local/bin/"
    cp "$lab_dir/dom0/sshd_config" "$over/etc/ssh/lab_sshd_config"
    install -m 600 host_key "$over/etc/ssh/lab_host_key"
    install -m 600 key.pub "$over/etc/ssh/lab_authorized_keys"
    echo lab-dom0 >"$over/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 lab-dom0\n' >"$over/etc/hosts"
    initramfs "$tree" sh mount insmod sleep cp switch_root poweroff \
        >initrd.img
}
