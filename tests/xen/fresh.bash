# SPDX-License-Identifier: LGPL-2.1-or-later
# For files whose tests may break the guest: each begins with a fresh one.
# shellcheck shell=bash

setup_file()
{
    guest_new
}

teardown_file()
{
    guest_end
}

setup()
{
    guest_fresh
}
