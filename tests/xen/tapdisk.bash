# SPDX-License-Identifier: LGPL-2.1-or-later
# For files with disks of tapdisk: the stand-ins of fakes/ take the places of
# tap-ctl and vhd-util.
# shellcheck shell=bash

# block-tap runs "modprobe blktap", and finds tap-ctl on libxl's PATH.
tapdisk_setup()
{
    cp "$BATS_TEST_DIRNAME"/fakes/* /usr/local/sbin/
    echo "install blktap /bin/true" >/etc/modprobe.d/fake-blktap.conf
    rm -rf /run/fake-tapdisk
    modprobe -a loop dm-mod
}

tapdisk_end()
{
    rm -f /usr/local/sbin/tap-ctl /usr/local/sbin/vhd-util \
        /usr/local/sbin/vhd.bash /etc/modprobe.d/fake-blktap.conf
}

# tapdisk_disk FILE VDEV: as in xl.cfg.
tapdisk_disk()
{
    echo "format=raw,vdev=$2,access=rw,script=block-tap,target=vhd:$1"
}
