# Two commands matter: `make demo` and `make test`. Both install what is missing (scripts/setup).

PREFIX ?= /usr/local
CARGO ?= $(shell command -v cargo || echo $(HOME)/.cargo/bin/cargo)
BIN := target/release/nixos-build-vms

.PHONY: all build setup demo test test-fast bench bench-eval bench-links bench-roundtrip install clean

all: build

build:
	$(CARGO) build --release --locked

setup:
	@scripts/setup

demo: setup build
	@scripts/demo

# Everything: unit tests, language tests, the command, machines that boot.
test:
	@scripts/setup tests
	$(CARGO) test --release --locked --workspace --no-fail-fast

# What needs neither network nor machines: seconds once built.
test-fast:
	$(CARGO) test --release --locked --workspace --lib --bins

bench: setup build
	@bench/network --peers

bench-eval: build
	@bench/eval

bench-links: setup build
	@bench/links

# Guest commands beside the protocol of NixOS' driver.
bench-roundtrip: build
	@bench/roundtrip

install: build
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/nixos-build-vms
	install -D -m 644 docs/nixos-build-vms.8 $(DESTDIR)$(PREFIX)/share/man/man8/nixos-build-vms.8

clean:
	$(CARGO) clean
