# xexit: `make` alone builds; `make demo` shows; `make test` proves.

SHELL   := /bin/bash
PREFIX  ?= /usr
DESTDIR ?=
SYSCONFDIR ?= /etc
# Rounds of one benchmark, time for each fuzz target.
BENCH_ROUNDS ?= 15
# Length of the soak.
MINUTES      ?= 60
FUZZTIME     ?= 30s

# A machine set up by hand has Go here and not in PATH; a CI job may have no HOME.
ifeq (,$(shell command -v go))
  export PATH := /usr/local/go/bin:$(PATH)
endif
ifeq (,$(HOME))
  export HOME := $(or $(shell getent passwd "$$(id -u)" | cut -d: -f6),/tmp)
endif

# Go stamps the version from git. It refuses the whole build where git cannot
# answer (a tarball, another owner's clone): then there is no stamp.
VCS   := $(shell git status --porcelain >/dev/null 2>&1 && git rev-parse -q --verify HEAD >/dev/null 2>&1 || echo -buildvcs=false)
BUILD := CGO_ENABLED=0 go build $(VCS) -trimpath -ldflags '-s -w'
TOOL  := go tool -modfile=tools/go.mod
SUM   := bin/testsum

# Packages of tests that boot containers.
BOOTED ?= control daemon displayd endlogin exempt gauntlet logins system
empty :=
space := $(empty) $(empty)

.PHONY: all build install uninstall demo check static unit test setup images realtime scenarios vm containers gauntlet bombs test-display system soak soak-display bench fuzz check-long clean
.DEFAULT_GOAL := build
.NOTPARALLEL:

all: build

build:
	@mkdir -p bin
	@$(BUILD) -o bin/xexit ./cmd/xexit
	@$(BUILD) -o bin/xexit-main ./cmd/xexit-main
	@ln -sf xexit bin/EndXSession

demo: build
	@bin/xexit demo

install: build
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/libexec/xexit' \
	  '$(DESTDIR)$(SYSCONFDIR)/X11/Xsession.d' '$(DESTDIR)$(SYSCONFDIR)/Xexit.d' \
	  '$(DESTDIR)$(SYSCONFDIR)/xexit/conf.d' '$(DESTDIR)$(SYSCONFDIR)/xexit/end.d' '$(DESTDIR)$(PREFIX)/share/doc/xexit'
	install -m 755 bin/xexit '$(DESTDIR)$(PREFIX)/bin/xexit'
	ln -sf xexit '$(DESTDIR)$(PREFIX)/bin/EndXSession'
	install -m 755 bin/xexit-main '$(DESTDIR)$(PREFIX)/libexec/xexit/xexit-main'
	@# What an admin has edited is left as it is: the snippet names the site's own
	@# PROGRAM. A name with a dot is not sourced by Xsession.
	@new="$$(mktemp)"; to='$(DESTDIR)$(SYSCONFDIR)/X11/Xsession.d/90xexit'; \
	  sed 's,/usr/bin/EndXSession,$(PREFIX)/bin/EndXSession,' share/Xsession.d/90xexit >"$$new"; \
	  if [ -e "$$to" ] && ! cmp -s "$$new" "$$to"; then \
	    echo "$$to was edited, the new one is $$to.new"; to="$$to.new"; fi; \
	  install -m 644 "$$new" "$$to"; status=$$?; rm -f "$$new"; exit $$status
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/user'
	@to='$(DESTDIR)$(PREFIX)/lib/systemd/user/xexit.service'; \
	  sed 's,/usr/bin/xexit,$(PREFIX)/bin/xexit,' share/systemd/user/xexit.service >"$$to" && chmod 644 "$$to"
	install -d '$(DESTDIR)$(PREFIX)/share/pam-configs'
	@to='$(DESTDIR)$(PREFIX)/share/pam-configs/xexit'; \
	  sed 's,/usr/bin/xexit,$(PREFIX)/bin/xexit,' share/pam-configs/xexit >"$$to" && chmod 644 "$$to"
	install -d '$(DESTDIR)$(PREFIX)/lib/lsb/init-functions.d'
	install -m 644 share/lsb/50-xexit '$(DESTDIR)$(PREFIX)/lib/lsb/init-functions.d/50-xexit'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	@for unit in share/systemd/system/*; do \
	  to='$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$${unit##*/}"; \
	  sed 's,/usr/bin/xexit,$(PREFIX)/bin/xexit,; s,/usr/libexec/xexit,$(PREFIX)/libexec/xexit,' "$$unit" >"$$to" && chmod 644 "$$to" || exit 1; \
	done
	@for hook in share/Xexit.d/*; do \
	  to='$(DESTDIR)$(SYSCONFDIR)/Xexit.d/'"$${hook##*/}"; \
	  case $$hook in *README*) continue;; esac; \
	  if [ -f "$$hook" ] && [ ! -e "$$to" ]; then \
	    mode=644; [ -x "$$hook" ] && mode=755; \
	    echo install -m $$mode "$$hook" "$$to"; install -m $$mode "$$hook" "$$to" || exit 1; \
	  fi; \
	done
	@for doc in README.md CHANGELOG.md LICENSE share/*.toml; do \
	  [ ! -f "$$doc" ] || install -m 644 "$$doc" '$(DESTDIR)$(PREFIX)/share/doc/xexit/' || exit 1; \
	done
	install -m 644 share/Xexit.d/README '$(DESTDIR)$(PREFIX)/share/doc/xexit/README.hooks'
	@for page in man/*.[1-8]; do \
	  [ -f "$$page" ] || continue; \
	  install -d '$(DESTDIR)$(PREFIX)/share/man/man'"$${page##*.}" && \
	  install -m 644 "$$page" '$(DESTDIR)$(PREFIX)/share/man/man'"$${page##*.}/" || exit 1; \
	done

# Configuration and hooks stay: they may be the admin's.
uninstall:
	rm -f '$(DESTDIR)$(PREFIX)/bin/xexit' '$(DESTDIR)$(PREFIX)/bin/EndXSession' \
	  '$(DESTDIR)$(PREFIX)/libexec/xexit/xexit-main' '$(DESTDIR)$(SYSCONFDIR)/X11/Xsession.d/90xexit'
	rm -f '$(DESTDIR)$(PREFIX)/lib/systemd/user/xexit.service' '$(DESTDIR)$(PREFIX)/share/pam-configs/xexit' \
	  '$(DESTDIR)$(PREFIX)/lib/lsb/init-functions.d/50-xexit' \
	  '$(DESTDIR)$(PREFIX)'/lib/systemd/system/xexit*.service
	rm -rf '$(DESTDIR)$(PREFIX)/share/doc/xexit'
	rm -f '$(DESTDIR)$(PREFIX)'/share/man/man[1-8]/xexit*.[1-8] '$(DESTDIR)$(PREFIX)'/share/man/man[1-8]/EndXSession.[1-8]

# check: before every commit; needs no root and no X, under two minutes.
check: static $(SUM)
	@echo '== unit tests'
	@$(SUM) ./...

static:
	@echo '== gofumpt, go vet, staticcheck'
	@bad="$$($(TOOL) gofumpt -l cmd internal tests)"; [ -z "$$bad" ] || \
	  { echo "not formatted (run: $(TOOL) gofumpt -w cmd internal tests):"; echo "$$bad"; exit 1; }
	@go vet ./... && cd tests && go vet ./...
	@$(TOOL) staticcheck ./...
	@cd tests && go tool -modfile=../tools/go.mod staticcheck ./...

$(SUM): tests/cmd/testsum/*.go
	@mkdir -p bin
	@cd tests && CGO_ENABLED=0 go build $(VCS) -o ../$(SUM) ./cmd/testsum

# test: all that the machine allows. As root on Debian or Ubuntu it first
# installs what is missing; elsewhere what cannot run says so.
# The images for containers and emulated machines, which take as long as the unit
# tests on a fresh machine, are made beside them.
test: $(SUM)
	@bash tests/setup.sh
	@$(MAKE) --no-print-directory static
	@echo '== unit tests, race detector'
	@$(MAKE) --no-print-directory images >bin/images.log 2>&1 & images=$$!; \
	  $(SUM) -race ./...; tests=$$?; \
	  wait $$images; images=$$?; cat bin/images.log; \
	  [ $$tests -eq 0 ] && [ $$images -eq 0 ]
	@$(MAKE) --no-print-directory realtime scenarios containers test-display
	@echo 'make test: all passed'

setup:
	@bash tests/setup.sh
	@$(MAKE) --no-print-directory images

images:
	@bash tests/image.sh
	@bash tests/vm/kernel.sh

# Tests that let real seconds pass on real servers carry the build tag realtime.
# They wait, so many fit on few cores.
realtime: $(SUM)
	@echo '== real-time tests'
	@packages="$$(grep -rl --include='*_test.go' '^//go:build realtime' cmd internal | xargs -r -n1 dirname | sort -u | sed 's,^,./,')"; \
	  if [ -n "$$packages" ]; then $(SUM) -tags realtime -timeout 15m -parallel 24 $$packages; else echo 'none'; fi

# Most of a scenario is waiting: many fit on few cores. Never from the test
# cache, which does not see that the programs under test have changed.
scenarios: build $(SUM)
	@echo '== scenarios on real servers and processes'
	@$(SUM) -C tests -count 1 -timeout 20m -p 3 -parallel 8 $(if $(RUN),-run '$(RUN)',) $$(cd tests && go list ./... | grep -vE "/($(subst $(space),|,matrix $(BOOTED)))$$")

# A real suspend, Xorg on virtual terminals and older kernels, in emulated
# machines: one boot a kernel. The scenarios run it too, beside the others.
vm: build $(SUM)
	@echo '== emulated machine'
	@$(SUM) -C tests -count 1 -timeout 20m ./vm

# Tests in containers that a real systemd boots, one package after the other: who
# tells of logins, what the daemon does, what outlives a login and what may. No
# more than three containers at once: the kernel counts inotify instances by uid.
containers: build $(SUM)
	@bash tests/image.sh
	@echo '== in containers with a real systemd'
	@$(SUM) -C tests -count 1 -timeout 30m -p 1 -parallel 3 $(if $(RUN),-run '$(RUN)',) $(BOOTED:%=./%)

# Every way to outlive a session against xexit and its rivals, for the table.
gauntlet: build
	@bash tests/setup.sh
	@bash tests/image.sh
	@cd tests && go run ./cmd/gauntlet -o ../docs/gauntlet.md

# The fork bombs alone, many times, beside the kernel's own way to end a group.
# More than an hour with RUNS=100, on a machine that does nothing else.
bombs: build
	@bash tests/setup.sh
	@bash tests/image.sh
	@cd tests && go run ./cmd/gauntlet -bombs $(or $(RUNS),100) -o ../docs/bombs.md

# Every kind of display, every kind of fault: one line a cell, which can be
# followed in bin/matrix.txt. It has its own idea of how much to do at once.
test-display: build $(SUM)
	@echo '== fault matrix'
	@rm -f bin/matrix.txt; status=0; \
	  XEXIT_MATRIX='$(CURDIR)/bin/matrix.txt' $(SUM) -C tests -count 1 -timeout 20m $(if $(RUN),-run '$(RUN)',) ./matrix || status=$$?; \
	  [ ! -f bin/matrix.txt ] || cat bin/matrix.txt; exit $$status

# System mode beside its rivals, ROUNDS times: docs/system.md. An hour, most of it
# waiting for rivals: CONTAINERS=4 is less, if the kernel lets root have 1024
# inotify instances.
system: build
	@bash tests/setup.sh
	@bash tests/image.sh
	@cd tests && go run ./cmd/system -rounds $(or $(ROUNDS),3) -containers $(or $(CONTAINERS),2) -o ../docs/system.md

# soak: the daemon and SESSIONS logins by ssh, 20 at once, that leave processes
# behind; then DISPLAYS logins with a display, of which LOST lose it, one a second.
soak: build
	@bash tests/setup.sh
	@bash tests/image.sh
	@cd tests && go run ./cmd/system -soak $(or $(SESSIONS),2000) -displays $(or $(DISPLAYS),200) -lost $(or $(LOST),120)

# soak-display: random faults on displays of several kinds for an hour. Printed
# with a result that is wrong is the seed that makes the same choices again.
soak-display: build
	@cd tests && CGO_ENABLED=0 go build $(VCS) -o ../bin/soak ./soak
	@cd tests && exec ../bin/soak -for $(MINUTES)m $(if $(SEED),-seed $(SEED),)

# BENCH=scan,end measures those alone; BENCH_LARGEST=100000 ends something among
# so many others too, for which kernel.pid_max is raised meanwhile.
bench: setup build
	@cd tests && go run ./bench -rounds $(BENCH_ROUNDS) $(if $(BENCH),-only '$(BENCH)') $(if $(BENCH_LARGEST),-largest $(BENCH_LARGEST))

fuzz:
	@grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' cmd internal | \
	  sed -E 's,^(.*)/[^/]*:[0-9]+:func (.*),./\1 \2,' | sort -u | \
	  while read -r package target; do \
	    echo "== $$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	  done

# check-long: the long proofs, besides all that check does.
check-long: check
	@echo "== a million random process forests"
	@XEXIT_FORESTS=1000000 go test -count 1 -timeout 30m ./internal/member
	@echo "== ten thousand process numbers reused while a session is ended"
	@XEXIT_REUSES=10000 go test -count 1 -timeout 30m -v -run '^TestReuse$$' ./internal/ending
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2m
	@echo '== unit tests, race detector, ten times'
	@$(SUM) -race -count 10 -timeout 30m ./...

clean:
	rm -rf bin
