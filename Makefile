# make         builds the library and the command into target/release
# make install installs them with the header, the manuals, a sample configuration and units for systemd; DESTDIR, PREFIX, LIBDIR,
#              INCLUDEDIR, BINDIR, UNITDIR, MANDIR and DOCDIR say where
# make demo    shows them at work on a small internet of its own
# make check   installs what the tests need and runs all of them
# make torture runs at length what `make check` runs briefly, and the C programs under sanitizers; it stops by itself
# make fuzz    fuzzes each parser for five minutes; needs cargo-fuzz and a nightly toolchain
# make bench   measures, and stops by itself
# make header  rewrites include/mtasts.h from the sources

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
INSTALL ?= install
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/libmtasts
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

.PHONY: all install demo check lint tools torture fuzz bench header clean

all:
	$(CARGO) build --release --locked
	for shell in bash zsh fish; do \
		$(TARGET)/release/mtasts completions $$shell > $(TARGET)/release/completions.$$shell || exit 1; \
	done

# Installs what `make` has built and builds nothing itself, so that root needs no toolchain.
install:
	$(INSTALL) -d $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0644 $(TARGET)/release/libmtasts.so $(DESTDIR)$(LIBDIR)/libmtasts.so.$(VERSION)
	ln -sf libmtasts.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libmtasts.so.0
	ln -sf libmtasts.so.0 $(DESTDIR)$(LIBDIR)/libmtasts.so
	$(INSTALL) -m 0644 include/mtasts.h $(DESTDIR)$(INCLUDEDIR)/mtasts.h
	$(INSTALL) -m 0755 $(TARGET)/release/mtasts $(DESTDIR)$(BINDIR)/mtasts
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man3 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(DOCDIR)
	for page in doc/man/*.[135]; do \
		$(INSTALL) -m 0644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/ || exit 1; \
	done
	for page in doc/man/*.3; do \
		for name in $$(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z_]*\).*/\1/p' $$page | tail -n +2); do \
			echo ".so man3/$${page##*/}" > $(DESTDIR)$(MANDIR)/man3/$$name.3 || exit 1; \
		done; \
	done
	$(INSTALL) -m 0644 examples/mtasts.toml $(DESTDIR)$(DOCDIR)/mtasts.toml
	$(INSTALL) -m 0644 packaging/systemd/mtasts-refresh.service packaging/systemd/mtasts-refresh.timer $(DESTDIR)$(UNITDIR)
	$(INSTALL) -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	$(INSTALL) -m 0644 $(TARGET)/release/completions.bash $(DESTDIR)$(BASHDIR)/mtasts
	$(INSTALL) -m 0644 $(TARGET)/release/completions.zsh $(DESTDIR)$(ZSHDIR)/_mtasts
	$(INSTALL) -m 0644 $(TARGET)/release/completions.fish $(DESTDIR)$(FISHDIR)/mtasts.fish
	test -n "$(DESTDIR)" || ldconfig

demo: all
	$(CARGO) build --quiet --release --locked --package mtasts-world
	examples/demo/run.sh $(TARGET)/release

# Root has everything installed and may therefore skip nothing.
check: tools lint all
	MTASTS_NO_SKIP=$$(test "$$(id -u)" != 0 || echo 1) $(CARGO) test --locked --workspace
	$(CARGO) build --quiet --release --locked --package mtasts-world
	examples/demo/run.sh $(TARGET)/release > $(TARGET)/demo.out || { cat $(TARGET)/demo.out; exit 1; }
	@echo "make check: everything passed"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps

tools:
	tests/tools.sh

torture: tools
	timeout 3600 $(CARGO) test --release --locked --no-fail-fast -- --ignored --nocapture --test-threads 1 torture_
	timeout 3600 tests/sanitizers.sh

fuzz:
	fuzz/run.sh

# The library is built with the benchmarks. What they need and do not find is told as SKIPPED.
bench:
	timeout 3600 $(CARGO) bench --locked

header:
	MTASTS_WRITE_HEADER=1 $(CARGO) test --locked --test header

clean:
	$(CARGO) clean
