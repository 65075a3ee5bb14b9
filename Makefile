# Everything here works on a machine that has Go, git and make; what else is needed is built into .tools/ (git ignores it).
# Exceptions, both said where they occur: `make race` needs a C compiler, `make interop` fetches Java and Python tools.

.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help

# The last version of MinIO that its authors published; their repository is archived. Only tests, demo and benchmarks use it.
MINIO_VERSION       := v0.0.0-20260212201848-7aac2a2c5b7c
STATICCHECK_VERSION := v0.8.2
TOXIPROXY_VERSION   := v2.5.0
# What reads compose files: docker compose has the same reader.
COMPOSEGO_VERSION   := v2.16.2
# What compiles peer.proto; protoc-gen-go is of the version in go.mod.
BUF_VERSION         := v1.75.0
GENGRPC_VERSION     := v1.6.2

GO       ?= go
PKG      ?= ./...
VET      ?=
FUZZTIME ?= 10s
DURATION ?= 1m
SEED     ?= 1
ARGS     ?=

TOOLS := $(CURDIR)/.tools
DATA  := $(CURDIR)/data
LEAT  := $(CURDIR)/bin/leat
# ST1005 takes the colon of the journal names bucket: and mem: at the end of a message for punctuation.
CHECKS := -checks inherit,-ST1005
GOFMT  = $$($(GO) env GOROOT)/bin/gofmt
CODE  := agent cache cmd localstack metadata objectstore

.PHONY: help
help: ## Print this
	@echo 'Leat: a Kafka-compatible streaming service that keeps every byte in object storage.'
	@echo
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo '  ARGS="…" goes to the program started (run, dev, minio, demo, bench, chaos), PKG=./agent/… narrows test and race.'

.PHONY: build
build: ## Build bin/leat
	$(GO) build -trimpath -o $(LEAT) ./cmd/leat

.PHONY: run
run: build ## Start an agent on 127.0.0.1:9092 that keeps its bucket, journal and cache in ./data
	exec $(LEAT) agent --listen 127.0.0.1:9092 --store 'file://$(DATA)/bucket' --journal 'bolt://$(DATA)/journal' \
		--cache-dir '$(DATA)/cache' $(ARGS)

.PHONY: minio
minio: build $(TOOLS)/minio ## Start a MinIO and an agent on it (s3:// and bucket:); Ctrl-C stops both
	$(GO) build -trimpath -o bin/dev ./cmd/dev
	exec bin/dev -leat $(LEAT) -data '$(DATA)/minio' -minio -- $(ARGS)

.PHONY: dev
dev: ## As run, in ./data/dev and with debug logs; builds and starts anew whenever a Go file changes
	$(GO) build -trimpath -o bin/dev ./cmd/dev
	exec bin/dev -leat $(LEAT) -data '$(DATA)/dev' -watch -- --log-level debug $(ARGS)

.PHONY: check
check: VET := -vet=off # lint has done more
check: lint test ## What CI runs first: lint, test

.PHONY: test
test: $(TOOLS)/minio $(TOOLS)/etcd $(TOOLS)/toxiproxy ## Run all tests of Go code, with real MinIO, etcd and toxiproxy, which are built the first time (about 5 minutes)
	$(GO) test $(VET) -timeout 20m $(PKG)

# Left out is what the race detector cannot see into and only makes slow, by name, so that whatever is new or renamed is in: the explorations
# of the journal in a bucket, which run in coroutines, one at a time; that the simulation finds mutants (that it finds nothing without one is
# in); what happens in processes that are built without it (cmd/leat builds its own with it); drivers that run once more, below a prefix.
NORACE := TestCallsRepeat|TestEachRuleIsNeeded|TestEachWorldOnceLosesNothing|TestExploreAtRandom|TestExploreExhaustively
NORACE := $(NORACE)|TestExploreFurther|TestSamePathIsTheSameStory|TestScenes
NORACE := $(NORACE)|TestEachMutantIsFound|TestShortRunKeepsThePromises|TestTheSameSeedTwiceIsTheSameRun

.PHONY: race
race: $(TOOLS)/minio $(TOOLS)/etcd $(TOOLS)/toxiproxy ## The same under the race detector, except what that cannot judge; needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 40m -skip '^($(NORACE))$$|^TestMinIO$$/below_a_prefix$$' $(PKG)

.PHONY: interop
interop: $(TOOLS)/minio $(TOOLS)/etcd ## Drive Apache Kafka's Java tools, confluent-kafka and kcat; fetches them the first time
	cmd/interop/setup
	$(GO) test -tags interop -count=1 -timeout 30m -v ./cmd/interop

.PHONY: localstack
localstack: build ## Run agents on a LocalStack with a role's credentials, which are renewed; fetches it the first time (about a minute)
	localstack/setup
	$(GO) test -tags localstack -count=1 -timeout 15m -v ./localstack

.PHONY: observe
observe: build $(TOOLS)/minio ## Check alert rules and dashboard: promtool, and every query on a Prometheus that scrapes agents with traffic (half a minute)
	localstack/observe/setup
	promtool check config localstack/observe/prometheus.yml
	promtool test rules localstack/observe/rules_test.yml
	localstack/observe/schema/check
	$(GO) test -tags observe -count=1 -timeout 15m -v ./localstack/observe

.PHONY: terraform
terraform: ## Check terraform/: format, schema, tests, Checkov, and its calls against moto; fetches and builds what it needs the first time (about 5 minutes)
	terraform/check

.PHONY: image
image: build $(TOOLS)/minio $(TOOLS)/composego ## Check Dockerfile and compose.yaml by doing what they say, without an engine; needs root's rights
	cmd/image/setup
	$(GO) test -tags image -count=1 -timeout 15m -v ./cmd/image

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	@grep -rE --include='*_test.go' '^func Fuzz' $(CODE) | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | \
	while read -r dir target; do \
		echo "$$dir $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$dir" </dev/null; \
	done

.PHONY: explore
explore: ## Explore the journal in a bucket for longer, and mutants of it; ARGS='-explore.processes 3 -explore.slots 4 -explore.time 10m'
	$(GO) test -count=1 -timeout 0 -v -run 'ExploreFurther|ExploreAtRandom|Mutant' ./metadata/journal/object -explore.time 2m -explore.mutants 99 $(ARGS)

SEED     ?= 1
COUNT    ?= 1000
DURATION ?= 40s

.PHONY: sim
sim: ## Simulate agents, faults, clients in virtual time; SEED=1 COUNT=1000 DURATION=40s, ARGS=-sim.trace (the first build takes minutes)
	cmd/sim/overlay '$(TOOLS)/sim'
	$(GO) test -tags simseed -overlay '$(TOOLS)/sim/overlay.json' -count=1 -timeout 0 -v -run 'TestAgentsKeepTheirPromises' ./cmd/sim \
		-sim.seed $(SEED) -sim.count $(COUNT) -sim.duration $(DURATION) $(ARGS)

.PHONY: golden
golden: ## Write the golden files anew; look at the difference before you commit it
	@grep -rl --include='*_test.go' '\*rewrite\b' $(CODE) | sort | while read -r file; do \
		tests=$$(sed -n 's/^func \(Test[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | paste -sd '|'); \
		$(GO) test -count=1 "./$$(dirname "$$file")" -run "^($$tests)$$" -rewrite </dev/null; done
	@git diff --stat -- '*/testdata/*' agent/METRICS.md metadata/journal/FORMAT.md

.PHONY: proto
proto: $(TOOLS)/buf $(TOOLS)/protoc-gen-go-grpc ## Generate Go code from .proto files, with tools built the first time (about 1 minute)
	$(GO) build -o $(TOOLS)/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
	$(TOOLS)/buf generate agent/peer/peerpb --template '{"version": "v2", "plugins": [$(foreach p,go go-grpc,{ \
		"local": "$(TOOLS)/protoc-gen-$p", "out": "agent/peer/peerpb", "opt": "paths=source_relative"},)]}'

.PHONY: demo
demo: build $(TOOLS)/minio ## Stream a real text corpus through every codec into MinIO and back, and compare every byte
	$(GO) run ./cmd/demo -leat $(LEAT) $(ARGS)

.PHONY: bench
bench: build $(TOOLS)/minio ## Measure produce and consume on the file store and MinIO, beside the raw cost of the same PUTs
	$(GO) run ./cmd/bench -leat $(LEAT) $(ARGS)

.PHONY: chaos
chaos: build $(TOOLS)/minio $(TOOLS)/etcd $(TOOLS)/toxiproxy ## Torment a cluster for DURATION (1m) with the faults of SEED (1), and judge what clients saw; ARGS="-journal etcd"
	$(GO) build -trimpath -o bin/chaos ./cmd/chaos
	bin/chaos -leat $(LEAT) -duration $(DURATION) -seed $(SEED) $(ARGS)

.PHONY: clusterbench
clusterbench: build $(TOOLS)/minio $(TOOLS)/etcd ## Measure how soon a cluster recovers from the loss of its leader, and its commits a second
	$(GO) run ./cmd/bench/cluster -leat $(LEAT) $(ARGS)

.PHONY: fmt
fmt: ## Format the code
	$(GOFMT) -w $(CODE)

.PHONY: lint
lint: $(TOOLS)/staticcheck ## Check format, vet, staticcheck
	@bad=$$($(GOFMT) -l $(CODE)); if [ -n "$$bad" ]; then echo "not formatted, run make fmt:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags interop ./cmd/interop
	$(GO) vet -tags localstack ./localstack
	$(GO) vet -tags image ./cmd/image
	$(GO) vet -tags observe ./localstack/observe
	$(GO) vet -tags simseed ./cmd/sim
	GOOS=darwin $(GO) vet $$(grep -rl --include='*.go' '^//go:build !linux' $(CODE) | xargs -n 1 dirname | sort -u | sed 's|^|./|')
	cd cmd/etcd && $(GO) vet .
	$(TOOLS)/staticcheck $(CHECKS) ./...
	$(TOOLS)/staticcheck $(CHECKS) -tags interop ./cmd/interop
	$(TOOLS)/staticcheck $(CHECKS) -tags localstack ./localstack
	$(TOOLS)/staticcheck $(CHECKS) -tags image ./cmd/image
	$(TOOLS)/staticcheck $(CHECKS) -tags observe ./localstack/observe
	$(TOOLS)/staticcheck $(CHECKS) -tags simseed ./cmd/sim

.PHONY: tools
tools: $(TOOLS)/minio $(TOOLS)/etcd $(TOOLS)/toxiproxy $(TOOLS)/staticcheck ## Build what tests and lint need into .tools/, unless it is there

# A tool is there if the binary itself says that it is of the wanted version.
is = [ "$$($(GO) version -m '$(1)' 2>/dev/null | awk '$$1 == "mod" { print $$3 }')" = '$(2)' ]

.PHONY: $(TOOLS)/minio
$(TOOLS)/minio:
	@if $(call is,$@,$(MINIO_VERSION)); then exit; fi; \
	echo 'Building MinIO into .tools/, once: about 4 minutes on 2 cores.'; \
	GOBIN='$(TOOLS)' $(GO) install -trimpath -ldflags '-s -w' github.com/minio/minio@$(MINIO_VERSION)

# etcd's server cannot be installed by its path (its go.mod has replace directives), so a small main of ours embeds it, in a
# module of its own that pins the version. Go itself knows whether the binary is up to date.
.PHONY: $(TOOLS)/etcd
$(TOOLS)/etcd:
	@[ -e '$@' ] || echo 'Building etcd into .tools/, once: about half a minute on 2 cores.'; \
	cd cmd/etcd && $(GO) build -trimpath -ldflags '-s -w' -o '$@' .

# Its command is called server, so it is built beside and moved.
.PHONY: $(TOOLS)/toxiproxy
$(TOOLS)/toxiproxy:
	@if $(call is,$@,$(TOXIPROXY_VERSION)); then exit; fi; \
	echo 'Building toxiproxy into .tools/, once.'; \
	GOBIN='$@.new' $(GO) install -trimpath -ldflags '-s -w' github.com/Shopify/toxiproxy/v2/cmd/server@$(TOXIPROXY_VERSION); \
	mv '$@.new/server' '$@'; rmdir '$@.new'

# Its command is called cmd.
.PHONY: $(TOOLS)/composego
$(TOOLS)/composego:
	@if $(call is,$@,$(COMPOSEGO_VERSION)); then exit; fi; \
	echo 'Building compose-go into .tools/, once.'; \
	GOBIN='$@.new' $(GO) install -trimpath github.com/compose-spec/compose-go/v2/cmd@$(COMPOSEGO_VERSION); \
	mv '$@.new/cmd' '$@'; rmdir '$@.new'

.PHONY: $(TOOLS)/staticcheck
$(TOOLS)/staticcheck:
	@if $(call is,$@,$(STATICCHECK_VERSION)); then exit; fi; \
	echo 'Building staticcheck into .tools/, once.'; \
	GOBIN='$(TOOLS)' $(GO) install -trimpath honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

.PHONY: $(TOOLS)/buf
$(TOOLS)/buf:
	@if $(call is,$@,$(BUF_VERSION)); then exit; fi; \
	echo 'Building buf into .tools/, once: about 1 minute on 2 cores.'; \
	GOBIN='$(TOOLS)' $(GO) install -trimpath github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)

.PHONY: $(TOOLS)/protoc-gen-go-grpc
$(TOOLS)/protoc-gen-go-grpc:
	@if $(call is,$@,$(GENGRPC_VERSION)); then exit; fi; \
	echo 'Building protoc-gen-go-grpc into .tools/, once.'; \
	GOBIN='$(TOOLS)' $(GO) install -trimpath google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(GENGRPC_VERSION)

.PHONY: clean
clean: ## Remove what was built and the data of run, dev and minio; not .tools/
	rm -rf bin data
