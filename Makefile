# Two commands on a fresh Debian or Ubuntu machine with Rust: `make demo` and `make test`.

PLACARD_TEST_DATA ?= $(CURDIR)/../shared/data
export PLACARD_TEST_DATA
# Tests load ONNX Runtime in processes that do not pass through main.rs, which switches its telemetry off.
export ORT_DISABLE_TELEMETRY = 1

.PHONY: help demo test test-appliance kernels-check deps build lint models-eval bench-journey fuzz miri clean-demo

help:
	@echo "make demo   install what is missing, build, run the demonstration site for 30 s"
	@echo "make test   install what is missing, run every test"
	@echo "make test-appliance   the service under systemd in an emulated machine, with V4L2 cameras that fail (as root)"
	@echo "make kernels-check   the CUDA kernels with nvcc and NVRTC, for every architecture; needs no GPU (downloads 300 MB)"
	@echo "make lint   formats, clippy, cargo deny"
	@echo "make build  the release binary, target/release/placard"
	@echo "make fuzz   libFuzzer over everything that reads others' bytes (SECONDS_EACH=60; needs nightly Rust and cargo-fuzz)"
	@echo "make miri   the scan's portable code under Miri (needs nightly Rust)"
	@echo "make models-eval   the figures of the bundled models, on people who do not exist (EVAL=\"--identities 100\" is quicker)"
	@echo "make bench-journey   frames per CPU-second beside the usual programs"

deps:
	@scripts/install-packages.sh
	@scripts/fetch-onnxruntime.sh

build: deps
	cargo build --release --locked

demo: build
	target/release/placard demo --site demo-site

test: deps
	@scripts/install-packages.sh cvc5 || echo "no package cvc5 here: the proofs of the law's policies are skipped"
	scripts/test.sh

test-appliance: deps
	@scripts/install-packages.sh qemu-system-x86 e2fsprogs cpio zstd xz-utils
	PLACARD_APPLIANCE_TEST=1 cargo test --locked --test appliance -- --nocapture

kernels-check:
	@scripts/install-packages.sh python3-venv
	@scripts/kernels-check.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings
	@command -v cargo-deny >/dev/null || cargo install --locked --version 0.20.2 cargo-deny
	cargo deny check bans licenses sources

models-eval: build
	@scripts/models-eval.sh $(EVAL)

bench-journey: build
	benches/journey/compare.sh

fuzz:
	@scripts/fuzz.sh

# What runs there: no system calls of ours, no vector instructions, no cryptography (which is not Rust).
miri:
	cd fuzz && MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance" cargo +nightly miri test --no-default-features --lib -- \
	  gallery::scan::tests::small gallery::npy gallery::heads::tests::facts

clean-demo:
	rm -rf demo-site
