# SPDX-License-Identifier: LGPL-2.1-or-later
# For files whose tests make their volumes and guests themselves (lvm.bash): the
# volume group is there, each test begins with it empty and without a guest.
# shellcheck shell=bash

setup_file()
{
    guest_none
    vg_setup
}

teardown_file()
{
    guest_end
    assert_vg_whole
    vg_clear
}

setup()
{
    guest_none
    vg_clear
    guest_options=()
}
