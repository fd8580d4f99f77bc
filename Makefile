# The two commands of a newcomer: `make run` and `make test`. Everything else is cargo.

DATA ?= ./data
DISKS ?= 6
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
SUDO := $(shell [ "$$(id -u)" = 0 ] || { command -v sudo >/dev/null && echo 'sudo -E env PATH="$$PATH"'; })

.PHONY: run build test test-plain test-root test-twice test-clients prove prove-full lint

# Serves six folders below ./data as a 4+2 set, mounts them on ./data/mnt and prints the doors.
run: build
	./target/release/strata serve --data $(DATA) --disks $(DISKS) --mount $(DATA)/mnt

build:
	./packaging/install-deps.sh
	cargo build --release --locked --bin strata

# First the tests that need no root, then those that do.
test: test-plain test-root

test-plain:
	./packaging/install-deps.sh --test
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked
else
	cargo test --workspace --locked
endif

# Tests that need root are in modules named `root`; without root each of them says so and passes.
test-root:
ifeq ($(NEXTEST),yes)
	$(SUDO) cargo nextest run --workspace --locked --profile root --no-tests pass
else
	$(SUDO) cargo test --workspace --locked root::
endif

# The plain tests again, in a build that computes every change twice and throws the first result away.
test-twice:
ifeq ($(NEXTEST),yes)
	cargo nextest run --workspace --locked --features strata-seam/refuse-first
else
	cargo test --workspace --locked --features strata-seam/refuse-first
endif

# Only the clients of other people against a real server (tests/clients), every one of them.
test-clients: export STRATA_TEST_CLIENTS = all
test-clients:
	./packaging/install-deps.sh --test
ifeq ($(NEXTEST),yes)
	cargo nextest run --package strata-server --locked --no-capture clients::
else
	cargo test --package strata-server --locked -- --nocapture clients::
endif

# The rows of docs/reliability.md: a sample of each, and the full simulated rows, which take hours.
# Results are left in target/prove. A full run that was stopped goes on where it ended when it is called again.
PROVE := cargo run --release --locked --quiet --package strata-harness --features planted-bugs --
ROWS ?= loss crash iofail swarm corrupt sled fjall replace planted

prove:
	cargo build --release --locked --bin strata
	$(PROVE) all --short --out target/prove

prove-full:
	for row in $(filter-out planted,$(ROWS)); do $(PROVE) $$row --full --add --out target/prove || exit 1; done
	$(PROVE) planted --full --out target/prove

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses; fi
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
