# The menu. `make` alone prints it.

GOLANGCI_LINT := v2.15.0
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
GOFILES := $(shell git ls-files '*.go' 2>/dev/null)
RACE    := ./cmd/... ./link/... ./phy/... ./sims/... ./tun/...

# With sound where PortAudio's headers and a C compiler are; a machine without
# them builds all the rest, and the binary says what it lacks.
SOUND := $(shell pkg-config --exists portaudio-2.0 2>/dev/null && command -v gcc >/dev/null && echo yes)
TAGS  := $(if $(SOUND),-tags portaudio)
CGO   := $(if $(SOUND),1,0)

.DEFAULT_GOAL := help
.PHONY: help demo demo-light light-figures garbage link-garbage firmware build test race fuzz bench bench-picture bench-go lint cover netns netns-long audio golden fmt clean

help: ## this menu
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

demo: ## set up and run the main job: two hosts, one simulated room, ping and TCP (ARGS=--json for programs)
	@.ci/setup demo
	@$(MAKE) --no-print-directory build
	@bin/lightsong demo $(ARGS)

demo-light: ## the same over light: two emulated boards that run the real firmware
	@.ci/setup light
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory -C firmware -s emu BUILD=$(CURDIR)/bin/firmware
	@bin/lightsong demo light $(ARGS)

light-figures: ## the figures of docs/light.md, in the boards' own time: a quarter of an hour of a core
	@.ci/setup test
	LIGHTSONG_FIGURES=all go test -tags figures -count=1 -timeout 180m -v -run 'LightFigures|LightTCP|UARTFigures|UARTHand|UARTTCP|OneLEDFigures|OneLEDRoom' ./cmd/lightsong
	go test -run '^$$' -bench Codes -benchtime 1x ./modem/line

garbage: ## ten million messages over serial lines with a wrong octet in 100000, both ends (2 min)
	@.ci/setup test
	LIGHTSONG_FIGURES=1 go test -count=1 -v -run Garbage ./phy/led
	$(MAKE) --no-print-directory -C firmware -s garbage BUILD=$(CURDIR)/bin/firmware

link-garbage: ## ten million frames with wrong bits, before and behind the decoder, through the link (15 min of one core)
	LIGHTSONG_FIGURES=1 go test -count=1 -timeout 3h -v -run InjectedErrors ./link

firmware: ## build the boards' images and renew those that the program carries
	$(MAKE) -C firmware
	cp firmware/build/lightsong-atmega328p.hex firmware/build/lightsong-atmega328p-led.hex phy/led/images/
	cd phy/led/images && sha256sum *.hex > SHA256SUMS

build: ## bin/lightsong, with PortAudio where its headers are
	@mkdir -p bin
	$(if $(SOUND),,@echo "built without sound: pkg-config finds no portaudio-2.0 (Debian: portaudio19-dev pkg-config gcc)" >&2)
	CGO_ENABLED=$(CGO) go build $(TAGS) -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/lightsong ./cmd/lightsong

test: ## set up and run every test
	@.ci/setup test
	CGO_ENABLED=0 go build ./...
	go vet ./...
	go vet -tags netnslong,audio,figures ./...
	@bash -o pipefail -c 'go test -json -timeout 30m -parallel 8 ./... | go run ./.ci/tests .ci/expected-skips'

# Left out: tests whose daemons keep the kernel's time, which instrumented ones cannot,
# and long simulations in one goroutine.
race: ## the tests of everything concurrent under the race detector
	@.ci/setup test
	go test -race -short -timeout 30m -parallel 4 -skip '^(TestDemo|TestLoss|TestPeerKilled|TestPlugPulled|TestFlash.*|TestLight.*|TestSound.*|TestDoctor.*|TestDeafness|TestBenchLines|TestCourse)$$' $(RACE)

netns: build ## the tests with two real daemons in network namespaces, with what they measured
	@.ci/setup test
	go test -v -run 'Demo|Loss|Medium|Broadcast|UpDown|PeerKilled|PlugPulled' -parallel 8 -timeout 20m ./cmd/lightsong

netns-long: build ## what takes minutes: the kernel's TCP and pings, idle and beside it; daemons killed and plugs pulled; NAT, router, DNS, FTP, HTTP, babeld across; ssh, HTTP, MQTT at 5 kb/s
	@.ci/setup long
	go test -v -tags netnslong -run 'TestTCP|PingUnderTCP|CourseLink|PeerKilled|PlugPulled|Slow' -parallel 1 -timeout 3h ./cmd/lightsong

audio: ## the tests over a real sound server, in real time, with what they measured (20 min)
	@.ci/setup audio
	go test -tags audio -v -run 'TestSound|TestAudio' -timeout 60m ./cmd/lightsong

soak: ## ten minutes on the sound server and eight simulated hours of listening: nothing grows (half an hour)
	@.ci/setup audio
	go test -tags audio -v -run 'TestSoak' -timeout 3h ./cmd/lightsong

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (30s), two at a time
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		grep -oE '^func Fuzz[A-Za-z0-9]+' "$$file" | sed "s|^func |$$(dirname "$$file") |"; \
	done | sort -u | xargs -P 2 -L 1 bash -o pipefail -c \
		'.ci/fuzz "$$0" "$$1" $(FUZZTIME)'

LINES ?= all
bench: build ## the figures of docs/bench.md, line by line beside goal and theory (LINES=3,6): over an hour of one core, a third of it noise
	bin/lightsong bench --lines=$(LINES)

# Profile, channel, modes and highest SNR of the picture's parts.
PICTURE := cable:awgn:0-63/3:66 air:awgn:0-35/3:40 ultra:awgn:1-25/3:40 voice:awgn:1-22/3:40 fsk:awgn:0-7:40 \
	air:room:0-35/3:40 ultra:room:1-25/3:40 fsk:room:0-7:40
bench-picture: build ## docs/bench.csv and docs/bench.svg anew: every profile over white noise, three in a room (half an hour of one core)
	@for part in $(PICTURE); do \
		set -- $$(echo $$part | tr : ' ') && echo $$part && \
		bin/lightsong bench --bulk --packets 20 --profile $$1 --channel $$2 --mcs $$3 --snr=-24:$$4:2 --csv bin/picture-$$1-$$2.csv >/dev/null || exit; \
	done
	awk 'NR == 1 || FNR > 1' bin/picture-*.csv > bin/picture.csv
	bin/lightsong bench --from bin/picture.csv --csv docs/bench.csv --svg docs/bench.svg

bench-go: ## every Go benchmark: speed, allocations, error rates against theory
	go test -run '^$$' -bench . -benchmem ./...

lint: bin/golangci-lint ## golangci-lint with the laws of the house
	bin/golangci-lint run ./...

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)

cover: ## test coverage by package
	go test -short -cover ./...

golden: ## rewrite the golden files of all tests
	go test $$(grep -lE 'flag.Bool\("update"' --include='*_test.go' -r . | xargs -n1 dirname | sort -u) -run 'Golden|Vector' -update

fmt: ## gofmt
	gofmt -w $(GOFILES)

clean: ## remove what the build made
	rm -rf bin coverage.out
