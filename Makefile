# Portcullis. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
WASM := $(TARGET)/portcullis.wasm
NATIVE_MODULE := $(TARGET)/native/libportcullis.so
MESH := $(TARGET)/debug/portcullis-mesh
QUICK ?=
NATIVE ?=
KUBE ?=
ISTIO ?=

.PHONY: help toolchain wasm native image build tools demo up test test-unit test-filters test-e2e test-full check fmt deny scan advisories soak bench fuzz fuzz-guided clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The toolchain and the target of rust-toolchain.toml; says what is missing when rustup cannot fetch them.
toolchain:
	@command -v rustup >/dev/null || { echo "rustup is missing: install it from https://rustup.rs" >&2; exit 1; }
	@rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install
	@rustup target list --installed | grep -qx wasm32-wasip1 || rustup target add wasm32-wasip1 || \
		{ echo "the target wasm32-wasip1 is missing: run 'rustup target add wasm32-wasip1' where rustup has a network" >&2; exit 1; }

wasm: toolchain ## Build the Wasm module (target/portcullis.wasm, and portcullis.names beside it)
	@mkdir -p $(TARGET)
	$(CARGO) build --locked -p portcullis-proxy-wasm --target wasm32-wasip1 --profile wasm \
		--message-format json-render-diagnostics > $(TARGET)/wasm.messages
	$(CARGO) run --locked -q -p portcullis-pack -- $(TARGET)/wasm32-wasip1/wasm/portcullis.wasm $(TARGET)
	@ls -l $(WASM) | awk '{printf "%s: %.0f KiB\n", $$9, $$5 / 1024}'

native: toolchain ## Build the module for Envoy itself (target/native/libportcullis.so)
	$(CARGO) build --locked -p portcullis-envoy-so --profile native
	@cp $(TARGET)/native/libportcullis_envoy_so.so $(NATIVE_MODULE)
	@ls -l $(NATIVE_MODULE) | awk '{printf "%s: %.0f KiB\n", $$9, $$5 / 1024}'

# What the image of the control service runs on, as rustc calls it. It may be several: `x86_64 aarch64`.
ARCHITECTURES := x86_64
MUSL := $(addsuffix -unknown-linux-musl,$(ARCHITECTURES))
IMAGES := $(TARGET)/images
# So that nothing of the machine that builds stands in what it builds.
REMAPPED := $(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo $(CURDIR)=/portcullis $(abspath $(TARGET))=/target
IMAGE_ENV := RUSTFLAGS="$(addprefix --remap-path-prefix=,$(REMAPPED))" CFLAGS="$(addprefix -ffile-prefix-map=,$(REMAPPED))" CARGO_INCREMENTAL=0
COMMIT := --revision "$$(git describe --always --dirty --abbrev=40 --exclude '*')" --created "$$(git log -1 --format=%ct)"

image: wasm ## Build the OCI layouts of control service and filter, and the bills of what is in them (target/images; ARCHITECTURES="x86_64 aarch64" for several kinds of machine)
	@for target in $(MUSL); do \
		rustup target list --installed | grep -qx $$target || rustup target add $$target || \
		{ echo "the target $$target is missing: run 'rustup target add $$target' where rustup has a network" >&2; exit 1; }; \
	done
	$(CARGO) build --locked --workspace --bin portcullis-mesh --bin portcullis-images
	compiler="$$($(MESH) cross-compiler)" && PATH="$$compiler:$$PATH" CARGO_ZIGBUILD_ZIG_PATH="$$compiler/zig" $(IMAGE_ENV) \
		$(CARGO) zigbuild --locked -p portcullis-control --bin portcullis --profile image $(addprefix --target ,$(MUSL)) \
		--message-format json-render-diagnostics > $(TARGET)/image.messages
	rm -rf $(IMAGES) && mkdir -p $(IMAGES)
	$(TARGET)/debug/portcullis-images filter $(COMMIT) --folder $(IMAGES)/filter --messages $(TARGET)/wasm.messages --module $(WASM)
	$(TARGET)/debug/portcullis-images control $(COMMIT) --folder $(IMAGES)/control --messages $(TARGET)/image.messages \
		--zig "$$($(MESH) cross-compiler)" $(MUSL:%=--program $(TARGET)/%/image/portcullis)

build: wasm ## Build everything that the local mesh runs
	$(CARGO) build --locked -p portcullis-control -p portcullis-mesh

tools: toolchain ## Install istiod, istioctl, kustomize, kubeconform, func-e, Envoy and PostgreSQL into the user's cache folder
	$(CARGO) build --locked -p portcullis-mesh
	$(MESH) tools

demo: build $(if $(NATIVE),native) ## Start the local mesh, run the scenario, show the audit records, stop (NATIVE=1: native gateway)
	$(MESH) demo --with-parent $(if $(NATIVE),--native)

up: build $(if $(NATIVE),native) ## Start the local mesh and keep it running until Ctrl-C (NATIVE=1: native gateway; KUBE=1: with a Kubernetes API server; ISTIO=1.31: the newest istiod there)
	$(MESH) up --with-parent $(if $(NATIVE),--native) $(if $(KUBE)$(ISTIO),--kubernetes) $(if $(ISTIO),--istio $(ISTIO))

# One set of packages for everything: with another one dependencies have other features, and are compiled once more.
TEST := $(CARGO) test --locked --workspace

# By a name of its own, so that `make -n test` runs nothing.
MODULES := $(MAKE) wasm native

test: toolchain ## All tests but the slow ones
	$(TEST) --no-run
# The modules are linked by one processor each; the other one builds tools meanwhile.
	@$(MESH) tools --set kubernetes & tools=$$!; \
	$(MODULES); built=$$?; \
	wait $$tools && exit $$built
	$(TEST) --no-fail-fast

test-unit: build native tools ## Unit tests and the local mesh on its own
	$(CARGO) test --locked --workspace --exclude portcullis-tests --exclude portcullis-proxy-wasm --exclude portcullis-testhost

test-filters: wasm tools ## The module in the test host, and the test host against the real Envoy
	$(CARGO) test --locked -p portcullis-proxy-wasm -p portcullis-testhost

test-e2e: build tools ## The scenario on the real istiod and the real Envoy
	$(CARGO) test --locked -p portcullis-tests

# The newest PostgreSQL that the system's package manager has installed: an older one than that of `make tools`, and with TLS.
SYSTEM_POSTGRES := $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin /usr/pgsql-*/bin)))

# The oldest PostgreSQL that is taken, and the one before that of `make tools`.
OTHER_POSTGRES := 14 17

test-full: test image ## All tests, the slow ones too
	$(MESH) tools --set images
	$(CARGO) test --locked -p portcullis-tests --features slow -- --test-threads 1
	$(CARGO) test --locked -p portcullis-proxy-wasm --features slow --test attacks native_gateway
	$(TEST) --features portcullis-mesh/slow --test nginx
	$(MESH) tools --set policies
	$(TEST) --features portcullis-mesh/slow --test manifests -- valkey:: flows:: a_native_gateway_ends
	$(CARGO) test --locked -p portcullis-control --features slow --test many_keys --test database --test openapi
	$(CARGO) test --locked -p portcullis-control --features slow --test conversion -- --nocapture a_million
	$(CARGO) test --locked -p portcullis-control --features slow --test cut_off --test replica_faults
	$(MESH) tools --set monitoring
	$(TEST) --features portcullis-mesh/slow --test manifests -- promtool::
	$(TEST) --features portcullis-mesh/slow --test monitoring
	@test -n "$(SYSTEM_POSTGRES)" || { echo "PostgreSQL is missing: install that of the system, which is an older one (Debian: apt install postgresql)" >&2; exit 1; }
	$(MESH) tools $(addprefix --postgres ,$(OTHER_POSTGRES))
	for version in $(OTHER_POSTGRES) $(SYSTEM_POSTGRES); do \
		PORTCULLIS_POSTGRES=$$version $(CARGO) test --locked -p portcullis-control-store --test conformance || exit 1; \
	done
	$(MAKE) soak

check: fmt deny ## Formatting, lints, licences, bans
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p portcullis-proxy-wasm --target wasm32-wasip1 -- -D warnings

fmt:
	$(CARGO) fmt --all --check

deny:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: run 'cargo install --locked cargo-deny@0.20.2'" >&2; exit 1; }
	$(CARGO) fetch -q --locked
	cargo deny --offline check bans licenses sources

scan: advisories ## Crates with advisories (ADVISORY_DB=DIR), secrets in files, listeners that no table has
	$(TEST) --test secrets --test open_ports

# A clone of RustSec's database: whoever scans says how old it may be and where it comes from.
ADVISORY_DB ?=
RUSTSEC := https://github.com/RustSec/advisory-db
# What cargo-deny calls a clone of it: the last letters are a digest of the address.
RUSTSEC_FOLDER := advisory-db-3157b0e258782691

advisories:
	@test -n "$(ADVISORY_DB)" || { echo "ADVISORY_DB is not set: git clone $(RUSTSEC) DIR, then make scan ADVISORY_DB=DIR" >&2; exit 1; }
	@test -d "$(ADVISORY_DB)/crates" || { echo "$(ADVISORY_DB) has no folder crates: ADVISORY_DB is a clone of $(RUSTSEC)" >&2; exit 1; }
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: run 'cargo install --locked cargo-deny@0.20.2'" >&2; exit 1; }
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && ln -s "$$(realpath "$(ADVISORY_DB)")" "$$folder/$(RUSTSEC_FOLDER)" && \
	{ cat deny.toml; echo "db-path = \"$$folder\""; } > "$$folder/deny.toml" && \
	for manifest in Cargo.toml tests/fuzz/runner/Cargo.toml; do \
		$(CARGO) fetch -q --locked --manifest-path $$manifest && \
		cargo deny --offline --locked --manifest-path $$manifest --config "$$folder/deny.toml" check --hide-inclusion-graph advisories || exit 1; \
	done

soak: wasm native tools ## Ten million requests while the snapshot changes: memory must stay flat
	$(CARGO) run --locked --release -p portcullis-bench -- soak

bench: wasm native ## Measure (QUICK=1: under three minutes); writes target/bench.json
	$(CARGO) build --locked --release -p portcullis-bench -p portcullis-control
	$(TARGET)/release/portcullis-bench $(if $(QUICK),--quick,)
	$(CARGO) run --locked --release -p portcullis-proxy-wasm --example testhost_speed

FUZZ_SECONDS ?= 120

fuzz: wasm ## Feed both modules mutated headers, bodies, configurations and snapshots, and their test host mutated modules (FUZZ_SECONDS=120)
	$(CARGO) run --locked --release -p portcullis-proxy-wasm --example fuzz $(FUZZ_SECONDS)
	$(CARGO) run --locked --release -p portcullis-testhost --example fuzz_modules $$(( ($(FUZZ_SECONDS) + 3) / 4 ))
	$(MAKE) fuzz-guided

# What tells libFuzzer which parts of the code an input reaches. A stable compiler has all of it.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing
FUZZ_TARGETS := $(notdir $(wildcard tests/fuzz/corpus/*))
# Has a stable compiler take the one flag that it keeps for nightly ones.
SANITIZER ?=
SANITIZED := $(if $(SANITIZER),-Zsanitizer=$(SANITIZER))

fuzz-guided: toolchain ## Hold promises against inputs that libFuzzer finds by coverage (FUZZ_SECONDS=120, FUZZ_TARGETS=jws, SANITIZER=address)
	@host=$$(rustc -vV | sed -n 's/^host: //p') && built=$(TARGET)/fuzz$(addprefix -,$(SANITIZER)) && \
	$(if $(SANITIZER),RUSTC_BOOTSTRAP=1) RUSTFLAGS="$(COVERAGE) $(SANITIZED)" $(CARGO) build --locked --release --manifest-path tests/fuzz/runner/Cargo.toml \
		--target $$host --target-dir $$built && \
	for target in $(FUZZ_TARGETS); do \
		mkdir -p $$built/found/$$target && echo "$$target" && \
		$$built/$$host/release/$$target -verbosity=0 -print_final_stats=1 -max_len=1024 -timeout=10 -rss_limit_mb=$(if $(SANITIZER),4096,1024) \
			-max_total_time=$$(( ($(FUZZ_SECONDS) + $(words $(FUZZ_TARGETS)) - 1) / $(words $(FUZZ_TARGETS)) )) \
			-artifact_prefix=tests/fuzz/corpus/$$target/ $$built/found/$$target tests/fuzz/corpus/$$target || exit 1; \
	done

clean: ## Remove what was built
	$(CARGO) clean
