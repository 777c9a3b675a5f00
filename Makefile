# SPDX-License-Identifier: LGPL-2.1-or-later
# See `make help`.

PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
LIBDIR  ?= $(PREFIX)/lib
INCDIR  ?= $(PREFIX)/include
MANDIR  ?= $(PREFIX)/share/man
DOCDIR  ?= $(PREFIX)/share/doc/xl-snapshot
DESTDIR ?=

VERSION := 0.1.0
XEN_VERSION ?= $(shell pkg-config --modversion xenlight 2>/dev/null | cut -d. -f1,2)
B       ?= build

CC       ?= gcc
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wformat=2 -Wno-format-nonliteral -Wundef -Wno-unused-parameter -Werror
HARDEN   := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
DEFS     := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
            -DLIBXL_API_VERSION=0x041400 -DXLSNAP_VERSION='"$(VERSION)"' \
            -DXEN_BUILD_VERSION='"$(XEN_VERSION)"' -DSBINDIR='"$(SBINDIR)"'
ALL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(HARDEN) -fvisibility=hidden \
            $(DEFS) -Ilibxl-snapshot -Icfg $(EXTRA_CFLAGS)
ALL_LDFLAGS := -pie -Wl,-z,relro,-z,now $(LDFLAGS) $(EXTRA_CFLAGS)
XENLIBS  := -lxenlight -lxlutil -lxentoollog -lxenstore
LIBS     := $(XENLIBS) -lyajl -lxxhash

LIB_SRC  := $(wildcard libxl-snapshot/*.c)
CFG_SRC  := $(wildcard cfg/*.c)
CMD_SRC  := $(wildcard xl-snapshot/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
CFG_OBJ  := $(CFG_SRC:%.c=$(B)/obj/%.o)
CMD_OBJ  := $(CMD_SRC:%.c=$(B)/obj/%.o)
UNIT_SRC := $(wildcard tests/unit/*_test.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)

# `make V=1` shows the commands.
Q := $(if $(V),,@)

.PHONY: all
all: $(B)/xl-snapshot

$(B)/xl-snapshot: $(CMD_OBJ) $(CFG_OBJ) $(LIB_OBJ)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(B)/obj/%.o: %.c
	$(if $(Q),@echo "  CC  $<")
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# A unit test may use everything but the command itself.
$(B)/unit/%_test: $(B)/obj/tests/unit/%_test.o $(CFG_OBJ) $(LIB_OBJ)
	$(if $(Q),@echo "  LD  $@")
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
.SECONDARY: $(UNIT_SRC:%.c=$(B)/obj/%.o)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: check-unit
check-unit: $(UNIT_BIN)
	@for t in $(UNIT_BIN); do $$t || exit 1; done

.PHONY: clean
clean:
	rm -rf $(B)

# ---- installation ----

.PHONY: install install-xl uninstall
install: $(B)/xl-snapshot
	install -d $(DESTDIR)$(SBINDIR)
	install -m 755 $(B)/xl-snapshot $(DESTDIR)$(SBINDIR)/xl-snapshot
