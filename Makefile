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
# For a compiler that warns of more: make WERROR=
WERROR   ?= -Werror
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wformat=2 -Wundef -Wno-unused-parameter $(WERROR)
HARDEN   ?= -fstack-protector-strong -fstack-clash-protection -fPIE \
            -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
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
DISPATCH := xl-snapshot/xl-dispatch.c
CMD_SRC  := $(filter-out $(DISPATCH),$(wildcard xl-snapshot/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
CFG_OBJ  := $(CFG_SRC:%.c=$(B)/obj/%.o)
CMD_OBJ  := $(CMD_SRC:%.c=$(B)/obj/%.o)
UNIT_SRC := $(wildcard tests/unit/*_test.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/fuzz/%)
MAN      := $(patsubst docs/%.pod,$(B)/man/%,$(wildcard docs/*.[1-8].pod))

# Objects are made anew when the flags change (`make install PREFIX=/usr`).
FLAGS := $(CC) $(ALL_CFLAGS)
ifneq ($(file <$(B)/flags),$(FLAGS))
.PHONY: $(B)/flags
endif

# `make V=1` shows the commands.
Q := $(if $(V),,@)

.PHONY: all
all: $(B)/xl-snapshot $(B)/xl-dispatch ## the programs (default)

$(B)/xl-snapshot: $(CMD_OBJ) $(CFG_OBJ) $(LIB_OBJ)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(B)/xl-dispatch: $(B)/obj/$(DISPATCH:.c=.o)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

$(B)/obj/%.o: %.c $(B)/flags
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

$(B)/flags:
	$(shell mkdir -p $(@D))$(file >$@,$(FLAGS))

# docs/NAME.SECTION.pod
$(B)/man/%: docs/%.pod
	$(if $(Q),@echo "  MAN $@")
	@mkdir -p $(@D)
	$(Q)pod2man --utf8 --errors=die --release='xl-snapshot $(VERSION)' \
	    --center=xl-snapshot --section=$(patsubst .%,%,$(suffix $*)) \
	    --name='$(basename $*)' $< $@

# ---- tests ----

.PHONY: check check-unit check-fuzz-corpus check-cli check-xen check-all \
        check-asan check-valgrind check-long unit-tests bench
check: ## all tests that need no Xen
	@tests/run unit fuzz cli

check-xen: ## the tests on a real Xen, in the lab
	@tests/run xen

check-long: ## those in the lab that take long, too, and every fault at every step
	@tests/run long

bench: ## what a snapshot costs the guest: its pause, first writes (XLS_ROUNDS=3)
	@tests/bench/first-writes
	@tests/xen/run -j 1 tests/bench/*.bats

check-all: deps ## installs what is needed, then check and check-xen
	@tests/run unit fuzz cli xen

check-unit: ## the library and cfg/, with cmocka
	@tests/run unit

check-cli: ## the commands as a user meets them, where no Xen is
	@tests/run cli

unit-tests: $(UNIT_BIN)

# The target fuzz_NAME.c and what it was fed, corpus/NAME.  FUZZ_MAIN runs it
# over files; libFuzzer has a main of its own.
FUZZ_MAIN := $(B)/obj/tests/fuzz/replay.o
$(B)/fuzz/%: $(B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_MAIN) $(CFG_OBJ) $(LIB_OBJ)
	$(if $(Q),@echo "  LD  $@")
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
.SECONDARY: $(FUZZ_SRC:%.c=$(B)/obj/%.o) $(FUZZ_MAIN)

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_BIN)

check-fuzz-corpus: ## every input that fuzzing has kept
	@tests/run fuzz

SANITIZE := -fno-omit-frame-pointer -fsanitize=address,undefined \
            -fno-sanitize-recover=all

check-asan: ## the same in C, with AddressSanitizer and UBSan
	B=build-asan HARDEN=-fPIE EXTRA_CFLAGS='$(SANITIZE)' tests/run unit fuzz

# What ASan does not see: reads of what was never written.  A child's end is
# not its parent's.
VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full \
            --errors-for-leak-kinds=definite --child-silent-after-fork=yes

check-valgrind: ## and with valgrind, which must be installed: 6 minutes
	UNDER='$(VALGRIND)' tests/run unit fuzz

FUZZ_SECONDS ?= 600
.PHONY: fuzz
# What it finds goes to build-fuzz/.
fuzz: ## libFuzzer on each target; FUZZ_SECONDS=600
	$(MAKE) B=build-fuzz CC=clang HARDEN=-fPIE FUZZ_MAIN= \
	    EXTRA_CFLAGS='$(SANITIZE) -fsanitize=fuzzer-no-link -w' \
	    LDFLAGS=-fsanitize=fuzzer fuzz-targets
	@for t in $(FUZZ_BIN:$(B)/%=build-fuzz/%); do \
	    mkdir -p $$t.corpus && \
	    $$t -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$$t. \
	        $$t.corpus tests/fuzz/corpus/$${t##*/} || exit 1; \
	done

.PHONY: demo
demo: ## a snapshot and the way back, shown on a real Xen in the lab
	@tests/lab/demo

# ---- what the machine must have ----

.PHONY: deps
deps: ## installs Debian's packages that building and testing need
	@tests/install-deps

# ---- style ----

TRACKED_C = $(shell git ls-files '*.c' '*.h')
TRACKED_SH = $(sort $(shell git grep -lE '^.!.*[/ ](ba)?sh\b' -- ':!*.bats') \
                    $(shell git ls-files '*.bash'))
TRACKED_BATS = $(shell git ls-files '*.bats')

# It does not know the cleanup attribute, by which all leaks would be (check-asan
# and check-valgrind look for those), nor an array of functions (diskspec.c).
CPPCHECK := cppcheck -q --error-exitcode=1 --std=c11 \
            --enable=warning,performance --suppress=memleak \
            --suppress=resourceLeak --suppress=uninitvar:cfg/diskspec.c \
            -Ilibxl-snapshot -Icfg

.PHONY: lint
lint: ## clang-format, cppcheck, shellcheck, podchecker on all tracked files
	clang-format --dry-run -Werror $(TRACKED_C)
	$(CPPCHECK) $(filter %.c,$(TRACKED_C))
	shellcheck -x $(TRACKED_SH)
	$(if $(TRACKED_BATS),shellcheck -x -s bats $(TRACKED_BATS))
	! podchecker -warnings -warnings $(wildcard docs/*.pod) 2>&1 | \
	    grep -v ' pod syntax OK'

# ---- installation ----

DOC      := $(wildcard README.md CHANGES)
EXAMPLES := $(wildcard cfg/examples/*.cfg)

.PHONY: install install-xl uninstall
install: all $(MAN) ## into DESTDIR; PREFIX=/usr/local
	install -d '$(DESTDIR)$(SBINDIR)'
	install -m 755 $(B)/xl-snapshot '$(DESTDIR)$(SBINDIR)/xl-snapshot'
	for page in $(MAN); do \
	    dir='$(DESTDIR)$(MANDIR)'/man$${page##*.}; \
	    install -d "$$dir" && install -m 644 "$$page" "$$dir" || exit 1; \
	done
	install -d '$(DESTDIR)$(DOCDIR)/examples'
	install -m 644 $(EXAMPLES) '$(DESTDIR)$(DOCDIR)/examples'
	$(if $(DOC),install -m 644 $(DOC) '$(DESTDIR)$(DOCDIR)')

# What stands there and is not ours is the real xl.
DISPATCH_MARK := xl-snapshot dispatcher of xl
install-xl: $(B)/xl-dispatch ## the `xl` that knows `xl snapshot-create`
	install -d '$(DESTDIR)$(SBINDIR)'
	@xl='$(DESTDIR)$(SBINDIR)/xl'; \
	if { [ -e "$$xl" ] || [ -L "$$xl" ]; } && \
	    ! grep -qsF '$(DISPATCH_MARK)' "$$xl"; then \
	    echo "$$xl is the real xl: choose another PREFIX" >&2; exit 1; \
	fi
	install -m 755 $(B)/xl-dispatch '$(DESTDIR)$(SBINDIR)/xl'

uninstall: ## what install and install-xl have put there
	rm -f '$(DESTDIR)$(SBINDIR)/xl-snapshot'
	for page in $(notdir $(MAN)); do \
	    rm -f '$(DESTDIR)$(MANDIR)'/man$${page##*.}/"$$page"; \
	done
	for doc in $(DOC) $(EXAMPLES:cfg/%=%); do \
	    rm -f '$(DESTDIR)$(DOCDIR)'/"$$doc"; \
	done
	rmdir '$(DESTDIR)$(DOCDIR)/examples' '$(DESTDIR)$(DOCDIR)' \
	    2>/dev/null || true
	@xl='$(DESTDIR)$(SBINDIR)/xl'; \
	if grep -qsF '$(DISPATCH_MARK)' "$$xl"; then rm -f "$$xl"; fi

.PHONY: clean help
clean: ## all that was built
	rm -rf $(B) build-asan build-fuzz

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1 \2/p' \
	    $(firstword $(MAKEFILE_LIST)) | sort -k1,1 | \
	    while read -r target text; do \
	        printf '  %-18s %s\n' "$$target" "$$text"; \
	    done
