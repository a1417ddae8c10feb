# nsqd in C. `make help` lists the targets.
#
# Every build variant has a directory of its own, so that switching between
# them never mixes objects: build/ (plain), build/address, build/thread,
# build/undefined, build/coverage (SANITIZE=...), build/perturb (PERTURB=1: seeded yields in
# the chan), and the same below build/clang when CC is clang, below build/aarch64-linux-gnu when it
# is aarch64-linux-gnu-gcc, and so on.
#
# Packagers set CC, CPPFLAGS, CFLAGS, LDFLAGS, LDLIBS, PKG_CONFIG, DESTDIR and the directories, in
# the environment or on the command line. What a build must have is added to them.

PREFIX      ?= /usr/local
EXEC_PREFIX ?= $(PREFIX)
BINDIR      ?= $(EXEC_PREFIX)/bin
DATADIR     ?= $(PREFIX)/share
MANDIR      ?= $(DATADIR)/man
DOCDIR      ?= $(DATADIR)/doc/nsqd
DESTDIR     ?=
INSTALL     ?= install
AWK         ?= awk
ifeq ($(origin CC),default)
CC      := gcc
endif
# 0: a warning stops nothing, for compilers that are newer than this project.
WERROR  ?= 1

cross   := $(patsubst %-gcc,%,$(filter %-gcc,$(notdir $(CC))))
variant := $(if $(findstring clang,$(CC)),/clang)$(addprefix /,$(cross))$(if $(SANITIZE),/$(SANITIZE))$(if $(PERTURB),/perturb)
ROOT    := build
BUILD   := $(ROOT)$(variant)

.DEFAULT_GOAL := all

PKGS    := libcjson libcurl gnutls libpcre2-8 zlib
PKG_CONFIG ?= $(addsuffix -,$(cross))pkg-config
override CPPFLAGS += -D_GNU_SOURCE -I. $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
WARN    := -Wall -Wextra $(if $(filter 0,$(WERROR)),,-Werror) -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wold-style-definition -Wformat=2 -Wvla -Wwrite-strings -Wpointer-arith
CFLAGS  ?= -O2 -g
# $(call cc-option,FLAGS) is FLAGS where the compiler takes them without a word, else nothing.
cc-option = $(shell echo 'int x;' | $(CC) -Werror $(1) -x c -c -o /dev/null - 2>/dev/null && \
              echo '$(1)')
# Steps over the guard page below a stack are impossible; what was not set is zero, nobody's secret.
PROBE   := $(call cc-option,-fstack-clash-protection)
ZERO    := $(call cc-option,-ftrivial-auto-var-init=zero)
# An atomic access of the daemon is a call that names it (docs/memory-order.md).
NAMED   := $(call cc-option,-Watomic-implicit-seq-cst)
ifeq ($(ZERO),)
ZERO    := $(call cc-option,-ftrivial-auto-var-init=zero \
             -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang)
endif
HARDEN  := -fstack-protector-strong -fPIE -fno-plt $(PROBE) $(ZERO)
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack
comma   := ,
override LDLIBS += $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lsnappy -lm -pthread

ifeq ($(SANITIZE),address)
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SANITIZE),undefined)
SANFLAGS := -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SANITIZE),thread)
SANFLAGS := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(SANITIZE),coverage)
# Lines are counted as they are written, by all threads, and also by a process that ends abruptly.
COVERAGE_DUMP := $(BUILD)/obj/test/coverage/dump.o
SANFLAGS := --coverage -fprofile-update=atomic -O0
LDHARDEN += $(COVERAGE_DUMP) $(patsubst %,-Wl$(comma)--wrap=%,_exit abort raise syscall)
else ifneq ($(SANITIZE),)
$(error SANITIZE=$(SANITIZE): must be address, thread, undefined or coverage)
else ifeq ($(shell echo | $(CC) $(CPPFLAGS) -O2 $(CFLAGS) -dM -E - | grep _FORTIFY_SOURCE),)
# (Some compilers, and some packagers, have set a level already.)
HARDEN  += -D_FORTIFY_SOURCE=2
endif
# A sanitized build is a debug build: it also checks the order of the locks.
ifneq ($(SANFLAGS),)
SANFLAGS += -DDEBUG_LOCKS
endif
ifdef PERTURB
SANFLAGS += -DCHAN_PERTURB
endif

# $(call quoted,TEXT) is TEXT as one word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'

# The folder of the build is in no binary: the same sources give the same one in each. (Its name may
# have blanks and apostrophes.)
PREFIX_MAP  := $(call quoted,-ffile-prefix-map=$(CURDIR)=.)
ALL_CFLAGS  := -std=gnu11 $(WARN) $(PREFIX_MAP) $(CFLAGS) $(HARDEN) $(SANFLAGS) -pthread
ALL_LDFLAGS := $(LDFLAGS) $(LDHARDEN) $(SANFLAGS)

define newline


endef

# One short line per command; V=1 shows the commands themselves.
say = $(if $(V),,@echo "$1 $@"; )

# At any depth, in the same order everywhere.
SRC   := $(sort $(shell find common protocol nsqd -name '*.c'))
OBJ   := $(SRC:%.c=$(BUILD)/obj/%.o)
# What unit tests link: everything but main().
LIBOBJ := $(filter-out $(BUILD)/obj/nsqd/main.o,$(OBJ))

# Made of the table of flags and the pages about them, alike for every variant (docs/generate.awk).
SHARE     := $(ROOT)/share
GENERATED := $(addprefix $(SHARE)/,nsqd.1 nsqd.bash _nsqd nsqd.cfg.example)

.PHONY: all
all: $(BUILD)/nsqd $(GENERATED) ## build the daemon, build/nsqd, and in build/share its man page and the like

GENERATED_OF := common/version.h nsqd/core/nsqd_flags.c docs/configuration.md docs/settings.md
$(SHARE)/nsqd.1:           WHAT := man
$(SHARE)/nsqd.bash:        WHAT := bash
$(SHARE)/_nsqd:            WHAT := zsh
$(SHARE)/nsqd.cfg.example: WHAT := config
$(GENERATED): docs/generate.awk $(GENERATED_OF)
	@mkdir -p $(@D)
	$(call say,GEN)$(AWK) -v what=$(WHAT) -f docs/generate.awk $(GENERATED_OF) > $@.$$$$ && mv $@.$$$$ $@

$(BUILD)/nsqd: $(OBJ)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(OBJ): ALL_CFLAGS += $(NAMED)

# What --version=long shows of the flags: not the folder of the build.
c-string    = $(call quoted,"$(subst ",\",$(subst \,\\,$(1)))")
SHOWN_FLAGS := $(strip $(filter-out -ffile-prefix-map=% -fdebug-prefix-map=% -fmacro-prefix-map=%,\
               $(CPPFLAGS) $(CFLAGS) $(HARDEN) $(SANFLAGS) $(ALL_LDFLAGS)))
$(BUILD)/obj/nsqd/core/build_info.o: ALL_CFLAGS += -DBUILD_FLAGS=$(call c-string,$(SHOWN_FLAGS))

# Linked into everything, by way of the flags.
$(OBJ): | $(COVERAGE_DUMP)

-include $(OBJ:.o=.d)

.PHONY: run
run: deps ## build, then run nsqd on the standard ports with its data under build/
	@$(MAKE) --no-print-directory all
	@mkdir -p $(ROOT)/data
	$(BUILD)/nsqd --data-path=$(ROOT)/data

.PHONY: test
test: deps-test ## everything that CI runs: every kind of test, plain and sanitized
	@$(MAKE) --no-print-directory check

# What is installed: the mode, the file, and where to.
define INSTALLED
0755 $(BUILD)/nsqd $(BINDIR)/nsqd
0755 $(BENCH) $(BINDIR)/nsq-bench
0644 $(SHARE)/nsqd.1 $(MANDIR)/man1/nsqd.1
0644 $(SHARE)/nsqd.bash $(DATADIR)/bash-completion/completions/nsqd
0644 $(SHARE)/_nsqd $(DATADIR)/zsh/site-functions/_nsqd
0644 $(SHARE)/nsqd.cfg.example $(DOCDIR)/nsqd.cfg.example
endef
# Its lines as words of the shell.
INSTALLED_LINES = $(subst $(newline),' ',$(call quoted,$(INSTALLED)))

.PHONY: install uninstall
install: all ## install nsqd, nsq-bench, man page, completions and example below $(DESTDIR)$(PREFIX)
	@root=$(call quoted,$(DESTDIR)); \
	printf '%s\n' $(INSTALLED_LINES) | while read -r mode file to; do \
	    echo "INSTALL $$root$$to"; \
	    $(INSTALL) -D -m "$$mode" "$$file" "$$root$$to" || exit 1; \
	done

uninstall: ## remove what install has installed, and nothing else
	@root=$(call quoted,$(DESTDIR)); \
	printf '%s\n' $(INSTALLED_LINES) | while read -r mode file to; do \
	    echo "RM $$root$$to"; \
	    rm -f "$$root$$to" || exit 1; \
	done

# The version is in common/version.h, and nowhere else.
VERSION := $(shell sed -n 's/^.define PRODUCT_VERSION "\(.*\)"/\1/p' common/version.h)

.PHONY: dist
dist: ## a tarball of the last commit: build/nsqd-c-VERSION.tar.gz
	@mkdir -p $(ROOT)
	git archive --prefix=nsqd-c-$(VERSION)/ -o $(ROOT)/nsqd-c-$(VERSION).tar HEAD
	gzip -9nf $(ROOT)/nsqd-c-$(VERSION).tar

.PHONY: clean
clean: ## remove build/
	rm -rf $(ROOT)

# What has the project's style, sources of tests as well.
STYLED = $(sort $(shell find common protocol nsqd test -name '*.[ch]'))

.PHONY: format
format: ## rewrite the C sources in the project's style
	clang-format -i $(STYLED)

# One clang-tidy per file, as many at once as there are processors. What it prints is shown where
# it finds something: all of it is an error (see .clang-tidy).
.PHONY: lint
lint: ## check the style, and run clang-tidy over the sources
	@clang-format --dry-run -Werror $(STYLED)
	@printf '%s\n' $(SRC) | xargs -P "$$(nproc)" -n 1 sh -c \
	    'said=$$(clang-tidy --quiet "$$0" -- -std=gnu11 $(CPPFLAGS) 2>&1) || \
	        { printf "%s\n" "$$said"; exit 1; }'
	@echo 'lint: ok'

# Debian packages: what a build needs, and what the tests need on top of it.
DEPS      := gcc make pkg-config libc6-dev libcjson-dev uthash-dev \
             libcurl4-gnutls-dev libgnutls28-dev libpcre2-dev libsnappy-dev zlib1g-dev
# With a colon: only where that command is missing. (See install-deps.sh.)
DEPS_SITE := python3 python3-venv ca-certificates chromium:chromium
DEPS_TEST := $(DEPS) libcmocka-dev openssl clang clang-rt llvm-cov:llvm python3 python3-pytest \
             python3-pytest-xdist python3-venv ca-certificates curl wget netbase \
             gdb go:golang-go node:nodejs npm:npm \
             aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
             qemu-aarch64:qemu-user man:man-db mandoc zsh $(DEPS_SITE)

.PHONY: deps
deps: ## install the Debian packages that the build needs
	@test/install-deps.sh $(DEPS)

.PHONY: deps-test
deps-test: ## install the Debian packages that the tests need
	@test/install-deps.sh $(DEPS_TEST)

# Each kind of test has a makefile of its own beside its sources; each adds
# its targets to CHECKS, in the order in which `make test` runs them. BUILT has those for which
# built-STAGE builds all that the stage needs; BESIDE and IDLE those that run beside others.
CHECKS :=
BUILT  :=
BESIDE := interop interop-durable-quick functional-durable-quick tools durability soak-check \
          soak-durable-check below below-durable
IDLE   := model fuzz
include test/docs/docs.mk
include test/unit/unit.mk
-include test/arm64/arm64.mk
-include test/functional/functional.mk
-include test/interop/interop.mk
include test/bench/bench.mk
# (It needs the stock daemon, of which bench.mk knows.)
-include test/durability/durability.mk
-include test/bench/bench_chan.mk
-include test/bench/bench_log.mk
-include test/porting/porting.mk
-include test/crossdq/crossdq.mk
-include test/tools/tools.mk
-include test/fuzz/fuzz.mk
-include test/model/model.mk
-include test/soak/soak.mk
-include test/below/below.mk
-include test/course/course.mk
-include test/site/site.mk
-include test/musl/musl.mk
-include test/packaging/packaging.mk
include test/coverage/coverage.mk
include test/proof/proof.mk

# The order of the stages. Those that wait come between those that compute, so that what the next
# ones need is built meanwhile.
ORDER  := docs unit functional unit-thread functional-thread unit-address functional-address \
          functional-handover chan-perturb
CHECKS := $(filter $(CHECKS),$(ORDER)) $(filter-out $(ORDER),$(CHECKS))

# What became of each stage of the last run. What else check.sh has to know: docs/testing.md.
check quick: export RESULTS := $(abspath $(ROOT)/check.txt)
check quick: export BUILT := $(BUILT)
check quick: export BESIDE := $(BESIDE)
check quick: export IDLE := $(IDLE)

.PHONY: check $(BUILT:%=built-%)
check: ## run the tests, without installing anything (KEEP=1: go on after a failure)
	@MAKE='$(MAKE)' test/check.sh $(CHECKS)

# The stages of `make quick`, and what it says at its end.
QUICK := docs unit-quick functional-quick
define QUICK_LEFT_OUT
== left out by `make quick`; `make check` runs it all
unit tests:       $(UNIT_SLOW)
functional tests: $(FUNCTIONAL_SLOW)
whole stages:     $(filter-out docs unit functional,$(CHECKS))
endef

.PHONY: quick
quick: export LEFT_OUT = $(QUICK_LEFT_OUT)
quick: ## what says most in two minutes: docs, most unit tests, most functional tests (KEEP=1)
	@MAKE='$(MAKE)' test/check.sh $(QUICK)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-zA-Z0-9_-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 24
	@echo
	@echo 'Variables: CC=gcc|clang  SANITIZE=address|thread|undefined|coverage  PERTURB=1  PREFIX= DESTDIR=  V=1'
	@echo '           KEEP=1 (check, test, quick)  T="test_chan ..." (unit)'
