# Build, test and run rpcpool. `make` or `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What a binary says of itself (rpcpool --version).
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X rpcpool.dev/internal/version.version=$(VERSION)
# Without it gRPC's pages of traces bring templates in, for which the linker keeps every
# method of every type: 9 MB of rpcpool, which are resident.
TAGS := grpcnotrace

# Every directory in cmd/ is a program. cmd/rpcpool is rpcpool, cmd/agent is
# rpcpool-agent, and so on.
BIN ?= bin
PROGRAMS := $(notdir $(patsubst %/,%,$(wildcard cmd/*/)))

IMG ?= rpcpool:$(VERSION)
CONTAINER_TOOL ?= docker

# How long `make soak` lasts, and how many trials `make demo` makes.
SOAK ?= 10m
TRIALS ?= 200
# How many sessions `make chaos` makes, and how many leaders `make failover` kills.
CHAOS ?= 2000
KILLS ?= 50
# How many calls `make chaos-rpc` makes.
CALLS ?= 200000
# Which Python `make test-grpc` uses: Debian's has Debian's packages.
PYTHON ?= /usr/bin/python3
# How many schedules of calls `make sim` plays, and which is the first.
SEEDS ?= 10000000
FIRST ?= 1

# Tools are built from hack/tools, at the versions in its go.mod, into a cache
# outside the tree: the next checkout finds them there.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rpcpool
TOOLS := $(CACHE)/tools-$(shell cat hack/tools/go.mod hack/tools/go.sum | sha256sum | cut -c1-16)
CONTROLLER_GEN := $(TOOLS)/controller-gen
GOLANGCI_LINT := $(TOOLS)/golangci-lint
# So are the programs that tests run the operator against, from hack/kube.
KUBE := $(CACHE)/kube-$(shell cat hack/kube/go.mod hack/kube/go.sum hack/kube/main.go | sha256sum | cut -c1-16)
KUBE_NODE := $(CACHE)/node-$(shell cat hack/kube/go.mod hack/kube/go.sum hack/kube/node/main.go | sha256sum | cut -c1-16)
# What deploys, likewise: it follows Kubernetes' libraries, not the linters'.
DEPLOY_TOOLS := $(CACHE)/deploy-$(shell cat hack/tools/deploy/go.mod hack/tools/deploy/go.sum | sha256sum | cut -c1-16)
HELM := $(DEPLOY_TOOLS)/helm
KUSTOMIZE := $(DEPLOY_TOOLS)/kustomize
# And what makes Go files of protobuf definitions, and speaks gRPC: it follows gRPC's.
GRPC_TOOLS := $(CACHE)/grpc-$(shell cat hack/tools/grpc/go.mod hack/tools/grpc/go.sum hack/tools/grpc/main.go | sha256sum | cut -c1-16)
GRPCURL := $(GRPC_TOOLS)/grpcurl
# And the container runtime of a cluster's nodes: Debian 12's is older than what gives
# containers the devices that they claim (CDI).
CONTAINERD := $(CACHE)/containerd-$(shell cat hack/tools/containerd/go.mod hack/tools/containerd/go.sum | sha256sum | cut -c1-16)
KUBECTL ?= kubectl

CRD := config/crd/bases/rpcpool.dev_rpcpools.yaml
CHART := charts/rpcpool

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*##"; printf "\nUsage:\n  make \033[36m<target>\033[0m\n"} /^[a-zA-Z_0-9-]+:.*?##/ { printf "  \033[36m%-15s\033[0m %s\n", $$1, $$2 } /^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Development

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the custom resource definition, its reference and the operator's role, the PrometheusRule, and the chart's copies.
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(CONTROLLER_GEN) crd:generateEmbeddedObjectMeta=true paths=./api/... output:crd:dir="$$scratch"; \
	go run ./hack/crd trim "$$scratch/$(notdir $(CRD))" $(CRD)
	go run ./hack/crd doc $(CRD) docs/manifest.md
	$(CONTROLLER_GEN) rbac:roleName=manager-role paths=./controllers/... output:rbac:dir=config/rbac
	go run ./hack/chart crd $(CRD) $(CHART)/templates/crds/rpcpools.yaml
	go run ./hack/chart role config/rbac/role.yaml $(CHART)/templates/_rules.tpl
	go run ./hack/chart alerts config/prometheus/rules.yaml $(CHART)/templates/prometheusrule.yaml
	go run ./hack/chart object config/prometheus/rules.yaml config/prometheus/prometheus_rule.yaml

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate DeepCopy methods, and the references of the command line and of the metrics.
	$(CONTROLLER_GEN) object paths=./api/...
	go test -vet=off ./cmd/rpcpool -run '^TestReference$$' -update
	go test -vet=off ./internal/metrics -run '^TestMetricsReference$$' -update

.PHONY: proto
proto: $(GRPCURL) ## Generate the Go files of the protobuf definitions.
	$(GRPC_TOOLS)/grpc rpc/grpcdoor rpcpoolv1/calls.proto

.PHONY: capnp
capnp: ## Generate the Go file of the Cap'n Proto schema of test/bench-rpc.
	hack/need.sh capnp capnproto
	cd test/bench-rpc/echo && capnp compile -I "$$(go list -f '{{.Module.Dir}}' capnproto.org/go/capnp/v3)/std" -o- echo.capnp \
		| go run capnproto.org/go/capnp/v3/capnpc-go

.PHONY: fmt
fmt: ## Format the Go files.
	gofmt -l -w .

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint, kube-api-linter on api/, and check the shell scripts.
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	$(GOLANGCI_LINT) run --allow-parallel-runners --config .golangci-api.yml ./api/...
	cd hack/tools/grpc && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../../../.golangci.yml ./...
	cd hack/image && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../../.golangci.yml ./...
	cd test/e2e && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../../.golangci.yml ./...
	cd test/bench-rpc && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../../.golangci.yml ./...
	hack/lint-scripts.sh

.PHONY: helm-lint
helm-lint: $(HELM) ## Check the chart with the values of its ci/ directory.
	@for values in $(CHART)/ci/*-values.yaml; do $(HELM) lint --strict --quiet $(CHART) --values "$$values"; done

.PHONY: lint-fix
lint-fix: $(GOLANGCI_LINT) ## Run golangci-lint and let it mend what it can.
	$(GOLANGCI_LINT) run --allow-parallel-runners --fix ./...

.PHONY: verify
verify: $(CONTROLLER_GEN) $(GRPCURL) ## Fail if a generated file is stale or a Go file is not formatted.
	hack/verify.sh

##@ Test

.PHONY: kube
kube: ## Build etcd and Kubernetes' API server for the tests, unless KUBEBUILDER_ASSETS names others.
	@[ -n "$${KUBEBUILDER_ASSETS:-}" ] || hack/kube.sh "$(KUBE)" . etcd kube-apiserver kube-controller-manager

.PHONY: kube-node
kube-node: ## Build what a cluster needs beside (kubelet, kube-proxy, kube-scheduler, kubectl, coredns).
	@hack/kube.sh "$(KUBE_NODE)" ./node kubelet kube-proxy kube-scheduler kubectl coredns

.PHONY: test
test: build kube $(HELM) $(KUSTOMIZE) ## Run all tests with the race detector, check coverage, then 100,000 schedules of calls, 20 s of soak and a little chaos.
	hack/need.sh gcc gcc libc6-dev
	hack/need.sh python3 python3
	hack/need.sh promtool prometheus
	hack/need.sh curl curl
	mkdir -p out
	KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(KUBE)}" HELM=$(HELM) KUSTOMIZE=$(KUSTOMIZE) CGO_ENABLED=1 go test -vet=off -race -timeout 25m \
		-covermode=atomic -coverpkg=$(shell hack/coverage.sh --packages) -coverprofile=out/coverage.out ./...
	hack/coverage.sh out/coverage.out
	go test -vet=off ./rpc/session/... ./rpc/schedule
	cd hack/image && CGO_ENABLED=1 go test -vet=off -race ./...
	cd test/e2e && CGO_ENABLED=1 go test -vet=off -race ./image/...
	cd test/bench-rpc && CGO_ENABLED=1 go test -vet=off -race ./...
	go run ./test/bench soak --duration 20s
	go run ./test/chaos -bin $(BIN) -sessions 400

.PHONY: test-grpc
test-grpc: $(GRPCURL) ## Test the gRPC door with clients of other makers (Python's grpcio, grpcurl), and docs/grpc.md with them.
	hack/need.sh gcc gcc libc6-dev
	hack/need.sh protoc protobuf-compiler libprotobuf-dev
	$(PYTHON) -c 'import grpc, google.protobuf' 2>/dev/null || hack/need.sh python3-grpcio python3-grpcio python3-protobuf
	GRPCURL=$(GRPCURL) PYTHON=$(PYTHON) CGO_ENABLED=1 go test -vet=off -race -count=1 -v -run '^TestForeign' ./rpc/grpcdoor

.PHONY: test-rdma
test-rdma: ## Test RDMA in virtual machines with soft-RoCE (QEMU, emulated): Debian on amd64; consoles are in out/rdma.
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "make test-rdma runs on Linux on x86_64 only, not on $$(uname -sm)" >&2; exit 1; }
	hack/need.sh qemu-system-x86_64 qemu-system-x86
	hack/need.sh xz xz-utils
	hack/need.sh gcc gcc libc6-dev
	go run ./test/rdma -cache $(CACHE)

.PHONY: sim
sim: ## Play SEEDS (10000000) schedules of calls, from FIRST (1) on; the traces of those that break a promise are in out/sim.
	go test -vet=off -count=1 -timeout 0 -v ./rpc/session/sim -run '^TestSchedules$$' -seeds $(SEEDS) -first $(FIRST) -keep $(abspath out/sim)

.PHONY: stress
stress: ## Run the end-to-end tests at full length (1,000 crashes, 10,000 sessions), and 100,000 calls with blobs under kills.
	hack/need.sh gcc gcc libc6-dev
	RPCPOOL_STRESS=1 CGO_ENABLED=1 go test -vet=off -race -timeout 60m -v ./test/conformance
	go test -vet=off -count=1 -timeout 30m -v ./rpc -run '^TestS2_(19|24)' -args -blob-calls 100000

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s).
	hack/fuzz.sh

.PHONY: soak
soak: build ## Throw random bytes at every port for SOAK (10m).
	go run ./test/bench soak --duration $(SOAK)

.PHONY: chaos
chaos: build ## Kill every process at random while CHAOS (2000) sessions run, and check what everybody saw.
	go run ./test/chaos -bin $(BIN) -sessions $(CHAOS)

.PHONY: chaos-rpc
chaos-rpc: ## Kill servers, clients and connections at random while CALLS (200000) calls run, and check what ran and what everybody was told.
	go run ./test/chaos-rpc -calls $(CALLS)

.PHONY: failover
failover: kube ## Kill the leading operator KILLS (50) times under load, and check what everybody saw.
	KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(KUBE)}" go run ./test/failover -kills $(KILLS)

.PHONY: scale
scale: kube ## Measure the operator with 1,000 and 5,000 pods against a real API server, beside a Deployment.
	KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$(KUBE)}" go run ./test/scale

.PHONY: bench
bench: build ## Measure, and print a table; JSON and table in out/bench.
	mkdir -p out/bench
	go test -vet=off -run '^$$' -bench . -benchmem ./... | tee out/bench/go.txt
	go run ./test/bench all

.PHONY: bench-rpc
bench-rpc: ## Measure native calls beside raw sockets and other RPC libraries, each server in a process of its own; table in out/bench/rpc.txt.
	mkdir -p out/bench
	cd test/bench-rpc && CGO_ENABLED=0 go build -o ../../out/bench/rpc .
	out/bench/rpc | tee out/bench/rpc.txt

##@ Cluster

# What `make cluster` and `make e2e` build beside the programs.
CLUSTER ?= $(CACHE)/cluster
NODES ?= 2
E2E_OUT := out/e2e
E2E_TAG := e2e
E2E_IMAGE ?= rpcpool.dev/rpcpool:$(E2E_TAG)
E2E_TEST_IMAGE ?= rpcpool.dev/rpcpool-e2e:$(E2E_TAG)
# Only a KUBECONFIG that is typed here counts: one of the environment may be of a
# cluster that nobody wants to test on.
E2E_KUBECONFIG := $(if $(filter command,$(word 1,$(origin KUBECONFIG))),$(KUBECONFIG),$(CLUSTER)/kubeconfig)
# Not empty if that is the cluster of this machine.
E2E_OWN := $(filter $(CLUSTER)/%,$(E2E_KUBECONFIG))

.PHONY: images
images: build ## Build the images without a container engine, with bills of materials (out/e2e/*.tar, *.cdx.json).
	@mkdir -p $(E2E_OUT)
	@cd test/e2e && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../../$(E2E_OUT)/rpcpool-e2e ./image && \
		CGO_ENABLED=0 go build -ldflags '-s -w' -o ../../$(E2E_OUT)/rpcpool-e2e-dra ./image/dradriver
	@cd hack/image && CGO_ENABLED=0 go build -o ../../$(E2E_OUT)/image .
	@$(E2E_OUT)/image --tag $(E2E_IMAGE) --out $(E2E_OUT)/rpcpool.tar --sbom $(E2E_OUT)/rpcpool.cdx.json $(BIN)/rpcpool*
	@$(E2E_OUT)/image --tag $(E2E_TEST_IMAGE) --entrypoint rpcpool-e2e --cmd "" --out $(E2E_OUT)/rpcpool-e2e.tar $(E2E_OUT)/rpcpool-e2e $(E2E_OUT)/rpcpool-e2e-dra
	@$(E2E_OUT)/image --tag rpcpool.dev/pause:e2e --entrypoint "rpcpool-e2e pause" --cmd "" --out $(E2E_OUT)/pause.tar $(E2E_OUT)/rpcpool-e2e

.PHONY: cluster
cluster: kube kube-node $(CONTAINERD)/containerd images ## Run a real cluster of NODES (2) nodes on this machine; root on Debian 12.
	@hack/need.sh runc runc
	@hack/need.sh ip iproute2
	@hack/need.sh nft nftables
	@hack/need.sh /usr/lib/cni/ptp containernetworking-plugins
	@go build -o $(E2E_OUT)/cluster ./hack/cluster
	@$(E2E_OUT)/cluster --dir $(CLUSTER) up --nodes $(NODES) --control $(KUBE) --node $(KUBE_NODE) --runtime $(CONTAINERD) \
		--image $(E2E_OUT)/pause.tar --image $(E2E_OUT)/rpcpool.tar --image $(E2E_OUT)/rpcpool-e2e.tar

.PHONY: cluster-down
cluster-down: ## End the cluster of this machine, and remove every trace of it.
	@go build -o $(E2E_OUT)/cluster ./hack/cluster
	@$(E2E_OUT)/cluster --dir $(CLUSTER) down

.PHONY: e2e
e2e: $(if $(E2E_OWN),cluster previous,images) $(HELM) ## Run the end-to-end tests (RUN=REGEXP: those only) on this machine's cluster, or on that of KUBECONFIG=FILE.
	@$(E2E_RUN) $(if $(RUN),-run '$(RUN)')

.PHONY: e2e-smoke
e2e-smoke: $(if $(E2E_OWN),cluster,images) $(HELM) ## Run the shortest of them: install, tune, kill, recover.
	@$(E2E_RUN) -run '^TestSmoke'

# The version before this one, from which an upgrade is tried.
PREVIOUS := $(CACHE)/previous
PREVIOUS_IMAGE := rpcpool.dev/rpcpool:previous
.PHONY: previous
previous: cluster
	@commit=$$(hack/previous.sh); \
	hack/previous.sh $$commit $(PREVIOUS) $(E2E_OUT)/image $(PREVIOUS_IMAGE); \
	$(E2E_OUT)/cluster --dir $(CLUSTER) load $(PREVIOUS)/$$commit/rpcpool-previous.tar

.PHONY: reliability
reliability: e2e ## Run the end-to-end tests, and bring the table of docs/reliability.md up to date.
	@hack/table.sh docs/reliability.md $(E2E_OUT)/reliability.md

# The programs of the tests; kubectl is the cluster's own if nobody says otherwise.
E2E_RUN = cd test/e2e && KUBECONFIG=$(abspath $(E2E_KUBECONFIG)) HELM=$(HELM) \
	KUBECTL=$(if $(E2E_OWN),$(KUBE_NODE)/kubectl,$(KUBECTL)) \
	E2E_IMAGE=$(E2E_IMAGE) E2E_TEST_IMAGE=$(E2E_TEST_IMAGE) \
	$(if $(E2E_OWN),E2E_CLUSTER="$(abspath $(E2E_OUT))/cluster --dir $(CLUSTER)" \
	E2E_PREVIOUS_CHART=$(PREVIOUS)/$$(../../hack/previous.sh)/chart E2E_PREVIOUS_IMAGE=$(PREVIOUS_IMAGE)) \
	go test -vet=off -count=1 -timeout 90m -v .

##@ Build

.PHONY: build
build: ## Build every program into bin/, statically linked.
	@mkdir -p $(BIN)
	@for program in $(PROGRAMS); do \
		name=rpcpool-$$program; if [ "$$program" = rpcpool ]; then name=rpcpool; fi; \
		CGO_ENABLED=0 go build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o "$(BIN)/$$name" "./cmd/$$program"; \
	done

# What can move bytes by RDMA. The other programs stay static: agent and workers run in
# containers of any image. Names are resolved as in the static programs.
RDMA_PROGRAMS := rpcpool sidecar
RDMA_TAGS := $(TAGS) rdma netgo osusergo

.PHONY: build-rdma
build-rdma: build ## The same, but with RDMA in rpcpool and rpcpool-sidecar: by cgo, for glibc.
	@hack/need.sh gcc gcc libc6-dev
	@[ -e /usr/include/infiniband/verbs.h ] || hack/need.sh infiniband/verbs.h libibverbs-dev
	@for program in $(RDMA_PROGRAMS); do \
		name=rpcpool-$$program; if [ "$$program" = rpcpool ]; then name=rpcpool; fi; \
		CGO_ENABLED=1 go build -tags '$(RDMA_TAGS)' -ldflags '$(LDFLAGS)' -o "$(BIN)/$$name" "./cmd/$$program"; \
	done

.PHONY: docker-build
docker-build: ## Build the image IMG, with CONTAINER_TOOL (docker).
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -t $(IMG) .

.PHONY: docker-build-rdma
docker-build-rdma: ## Build the image IMG-rdma: with RDMA, glibc and the drivers of rdma-core.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) -f Dockerfile.rdma -t $(IMG)-rdma .

.PHONY: clean
clean: ## Remove what the other targets made (not the cache of tools).
	rm -rf $(BIN) out dist

.PHONY: build-installer
build-installer: $(KUSTOMIZE) ## Write dist/install.yaml: definition and operator, with the image IMG, for kubectl apply.
	@mkdir -p dist
	@hack/kustomize.sh $(KUSTOMIZE) $(IMG) >dist/install.yaml

##@ Deploy

.PHONY: install
install: $(KUSTOMIZE) ## Install the custom resource definition into the current cluster.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply --server-side -f -

.PHONY: uninstall
uninstall: $(KUSTOMIZE) ## Remove the custom resource definition, and with it every pool.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

.PHONY: deploy
deploy: $(KUSTOMIZE) ## Install definition and operator, with the image IMG, into the current cluster.
	hack/kustomize.sh $(KUSTOMIZE) $(IMG) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: $(KUSTOMIZE) ## Remove the operator and the definition, and with it every pool.
	$(KUSTOMIZE) build config/default | $(KUBECTL) delete --ignore-not-found -f -

##@ Run

.PHONY: demo
demo: build ## Tune on a pool of this machine, some trials crashing, and show the result.
	TRIALS=$(TRIALS) hack/demo.sh

.PHONY: demo-cluster
demo-cluster: cluster $(HELM) ## The same on a real cluster of this machine, from nothing; root on Debian 12. It stays up.
	@KUBECONFIG=$(CLUSTER)/kubeconfig KUBECTL=$(KUBE_NODE)/kubectl HELM=$(HELM) IMAGE=$(E2E_IMAGE) TRIALS=$(TRIALS) hack/demo-cluster.sh
	@echo "the cluster stays up, with the KUBECONFIG and the PATH that are printed above; make cluster-down ends it"

# Tools

$(CONTROLLER_GEN):
	@echo "building controller-gen (once; kept in $(TOOLS))"
	@mkdir -p $(TOOLS)
	@cd hack/tools && CGO_ENABLED=0 go build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOLANGCI_LINT):
	@echo "building golangci-lint with kube-api-linter in it (once, some minutes; kept in $(TOOLS))"
	@mkdir -p $(TOOLS)
	@cd hack/tools && CGO_ENABLED=0 go build -o $@ sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

$(GRPCURL):
	@echo "building the generators for gRPC, and grpcurl (once, some minutes; kept in $(GRPC_TOOLS))" >&2
	@mkdir -p $(GRPC_TOOLS)
	@cd hack/tools/grpc && CGO_ENABLED=0 go build -o $(GRPC_TOOLS)/ . google.golang.org/protobuf/cmd/protoc-gen-go \
		google.golang.org/grpc/cmd/protoc-gen-go-grpc github.com/fullstorydev/grpcurl/cmd/grpcurl

$(CONTAINERD)/containerd:
	@echo "building containerd (once, two minutes; kept in $(CONTAINERD))"
	@mkdir -p $(CONTAINERD)
	@cd hack/tools/containerd && CGO_ENABLED=0 go build -tags no_btrfs,no_devmapper,no_zfs,no_tracing -ldflags '-s -w' -o $(CONTAINERD)/ \
		$(addprefix github.com/containerd/containerd/v2/cmd/,containerd containerd-shim-runc-v2 ctr)

##@ Tools

.PHONY: helm kustomize
helm: $(HELM) ## Build Helm, if it is not there, and say where it is.
	@echo $(HELM)
kustomize: $(KUSTOMIZE) ## Build kustomize, if it is not there, and say where it is.
	@echo $(KUSTOMIZE)

# Without these, Helm takes itself for one of Kubernetes 1.20.
HELM_MODULE := helm.sh/helm/v3
HELM_LDFLAGS = -s -w -X $(HELM_MODULE)/internal/version.version=$(shell cd hack/tools/deploy && go list -m -f '{{.Version}}' $(HELM_MODULE)) \
	$(foreach package,chartutil lint/rules,-X $(HELM_MODULE)/pkg/$(package).k8sVersionMajor=1 -X $(HELM_MODULE)/pkg/$(package).k8sVersionMinor=37)

$(HELM):
	@echo "building helm (once, some minutes; kept in $(DEPLOY_TOOLS))" >&2
	@mkdir -p $(DEPLOY_TOOLS)
	@cd hack/tools/deploy && CGO_ENABLED=0 go build -ldflags '$(HELM_LDFLAGS)' -o $@ $(HELM_MODULE)/cmd/helm

$(KUSTOMIZE):
	@echo "building kustomize (once; kept in $(DEPLOY_TOOLS))" >&2
	@mkdir -p $(DEPLOY_TOOLS)
	@cd hack/tools/deploy && CGO_ENABLED=0 go build -o $@ sigs.k8s.io/kustomize/kustomize/v5
