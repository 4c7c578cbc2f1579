# make         builds the library, the command and the server for Sendmail and Postfix into target/release
# make install installs them with the header, mtasts.pc, a static library, the manuals, completions, a sample configuration and
#              units for systemd; DESTDIR, PREFIX, LIBDIR, INCLUDEDIR, BINDIR, SBINDIR, UNITDIR, MANDIR, DOCDIR and the others
#              below say where
# make uninstall removes what `make install` put there, with the same variables
# make demo    shows them at work on a small internet of its own
# make check   installs what the tests need and runs all of them
# make torture runs at length what `make check` runs briefly, and the C programs under sanitizers; it stops by itself
# make fuzz    fuzzes each parser for five minutes; needs cargo-fuzz and a nightly toolchain
# make bench   measures, and stops by itself
# make header  rewrites include/mtasts.h from the sources
# make dist    makes mtasts-VERSION.tar.gz of what is committed, with all crates, so that it builds without network
# make check-packages checks that tarball, the system's SQLite and the packages, in half an hour or less
#
# CARGOFLAGS are handed to the build: `--no-default-features --features cli,quiet` takes the system's SQLite.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
INSTALL ?= install
LDCONFIG ?= ldconfig
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/libmtasts
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libmtasts.so.$(firstword $(subst ., ,$(VERSION)))
UNITS := mtasts-refresh.service mtasts-refresh.timer mtasts-socketmap.service mtasts-socketmap.socket
STAGE := $(TARGET)/release/stage
RELEASE := packaging/reproducibly.sh $(CARGO)

.PHONY: all install install-manuals uninstall demo check check-packages lint tools torture fuzz bench header dist clean

# Cargo has one name for the libraries of all features and flags, and takes one for the other.
BUILT = { echo '$(CARGOFLAGS) $(RUSTFLAGS)'; cksum $(TARGET)/release/deps/libmtasts.so || true; } 2>&1

all:
	$(BUILT) | cmp -s - $(STAGE)/built || rm -f $(TARGET)/release/deps/libmtasts.so
	$(RELEASE) build --release --locked $(CARGOFLAGS)
	packaging/static.sh $(TARGET)/release/libmtasts.a $(STAGE)
	for shell in bash zsh fish; do \
		$(TARGET)/release/mtasts completions $$shell > $(STAGE)/completions.$$shell || exit 1; \
	done
	$(BUILT) > $(STAGE)/built

# A manual for each further name in NAME, as PAGE:NAME.
ALIASES = $(shell for page in doc/man/*.3; do \
	sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z_]*\).*/\1/p' $$page | tail -n +2 | sed "s/^/$$(basename $$page):/"; done)
# Where files lie below prefix, a program may be told another prefix.
BELOW = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
# What `make install` puts below DESTDIR.
INSTALLED = $(addprefix $(LIBDIR)/,libmtasts.so.$(VERSION) $(SONAME) libmtasts.so libmtasts.a) \
	$(PKGCONFIGDIR)/mtasts.pc $(INCLUDEDIR)/mtasts.h $(BINDIR)/mtasts $(SBINDIR)/mtasts-socketmap \
	$(foreach page,$(notdir $(wildcard doc/man/*.[1358])),$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(page)) \
	$(foreach alias,$(ALIASES),$(MANDIR)/man3/$(lastword $(subst :, ,$(alias))).3) \
	$(DOCDIR)/mtasts.toml $(addprefix $(UNITDIR)/,$(UNITS)) \
	$(BASHDIR)/mtasts $(ZSHDIR)/_mtasts $(FISHDIR)/mtasts.fish
# Only root has a cache of libraries, and only that of the machine itself.
REFRESH_LIBRARIES = test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || $(LDCONFIG)

# Installs what `make` has built and builds nothing itself, so that root needs no toolchain.
install: install-manuals
	$(INSTALL) -d $(addprefix $(DESTDIR),$(LIBDIR) $(PKGCONFIGDIR) $(INCLUDEDIR) $(BINDIR) $(SBINDIR) $(UNITDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(INSTALL) -m 0644 $(TARGET)/release/libmtasts.so $(DESTDIR)$(LIBDIR)/libmtasts.so.$(VERSION)
	ln -sf libmtasts.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libmtasts.so
	$(INSTALL) -m 0644 $(STAGE)/libmtasts.a $(DESTDIR)$(LIBDIR)/libmtasts.a
	umask 022; sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(call BELOW,$(LIBDIR))|' \
		-e 's|@INCLUDEDIR@|$(call BELOW,$(INCLUDEDIR))|' -e 's|@VERSION@|$(VERSION)|' \
		packaging/mtasts.pc.in $(STAGE)/private > $(DESTDIR)$(PKGCONFIGDIR)/mtasts.pc
	$(INSTALL) -m 0644 include/mtasts.h $(DESTDIR)$(INCLUDEDIR)/mtasts.h
	$(INSTALL) -m 0755 $(TARGET)/release/mtasts $(DESTDIR)$(BINDIR)/mtasts
	$(INSTALL) -m 0755 $(TARGET)/release/mtasts-socketmap $(DESTDIR)$(SBINDIR)/mtasts-socketmap
	$(INSTALL) -m 0644 $(addprefix packaging/systemd/,$(UNITS)) $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0644 $(STAGE)/completions.bash $(DESTDIR)$(BASHDIR)/mtasts
	$(INSTALL) -m 0644 $(STAGE)/completions.zsh $(DESTDIR)$(ZSHDIR)/_mtasts
	$(INSTALL) -m 0644 $(STAGE)/completions.fish $(DESTDIR)$(FISHDIR)/mtasts.fish
	$(REFRESH_LIBRARIES)

install-manuals:
	$(INSTALL) -d $(addprefix $(DESTDIR),$(MANDIR)/man1 $(MANDIR)/man3 $(MANDIR)/man5 $(MANDIR)/man8 $(DOCDIR))
	for page in doc/man/*.[1358]; do \
		$(INSTALL) -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/ || exit 1; \
	done
	umask 022; for alias in $(ALIASES); do \
		echo ".so man3/$${alias%:*}" > $(DESTDIR)$(MANDIR)/man3/$${alias#*:}.3 || exit 1; \
	done
	$(INSTALL) -m 0644 examples/mtasts.toml $(DESTDIR)$(DOCDIR)/mtasts.toml

# Directories stay, but for the one that is this project's own.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	test ! -d $(DESTDIR)$(DOCDIR) || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(DOCDIR)
	$(REFRESH_LIBRARIES)

demo: all
	$(RELEASE) build --quiet --release --locked --package mtasts-world
	examples/demo/run.sh $(TARGET)/release

# Root has everything installed and may therefore skip nothing.
check: tools lint all
	MTASTS_NO_SKIP=$$(test "$$(id -u)" != 0 || echo 1) $(CARGO) test --locked --workspace
	$(RELEASE) build --quiet --release --locked --package mtasts-world
	examples/demo/run.sh $(TARGET)/release > $(TARGET)/demo.out || { cat $(TARGET)/demo.out; exit 1; }
	@echo "make check: everything passed"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps

tools:
	tests/tools.sh

torture: tools
	timeout 3600 $(RELEASE) test --release --locked --no-fail-fast -- --ignored --nocapture --test-threads 1 torture_
	timeout 3600 tests/sanitizers.sh

fuzz:
	fuzz/run.sh

# The library is built with the benchmarks. What they need and do not find is told as SKIPPED.
bench:
	timeout 3600 $(RELEASE) bench --locked

header:
	MTASTS_WRITE_HEADER=1 $(CARGO) test --locked --test header

dist:
	packaging/dist.sh

check-packages: tools all
	for check in packaging/check-*.sh; do echo "== $$check"; $$check || exit 1; done
	@echo "make check-packages: everything passed"

clean:
	$(CARGO) clean
