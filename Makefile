# Guest page hinting for Linux: fetch, build, run, test. All work is done by scripts/ and vm/.
# Prerequisites are installed where possible (root on Debian), else named.

LINUX ?=
STAGES ?=

help:
	@echo 'make run           build all, run the demonstration in a guest, print what happened'
	@echo 'make test          all tests (STAGES="apply model ..." for some of them; FULL=1: a day)'
	@echo 'make bench         what it costs, beside the base kernel (ARCH=x86_64: of the other host; RECORD=1: keep the figures)'
	@echo 'make benefit       what it gives, beside what else one could use (an hour; RECORD=1 as above)'
	@echo 'make benefit-many  the same where many guests share too little memory (hours, root; RECORD=1 as above)'
	@echo 'make kvm-check     the tests of the other host, on a machine that has KVM'
	@echo 'make mutants       take each hook away, and see which test notices (two hours)'
	@echo 'make shell         the same guest with a shell'
	@echo 'make apply LINUX=DIR     put the series on your own tree (7.3.y, 6.12.y), or some of it: PARTS="1 2"'
	@echo
	@echo 'make deps          install the packages needed (Debian, root)'
	@echo 'make qemu          build the QEMU with the host part, print its path'
	@echo 'make kernel        build the guest kernel (CONFIG=run|test), print its directory'
	@echo 'make guest         build the guest'"'"'s initrd, print its directory'
	@echo 'make check         checks of the repository (patches, overlay, style)'
	@echo 'make check-builds  each patch builds; with the feature off nothing changes'
	@echo 'make check-parts   each part of the series builds, boots and passes its tests without the later ones (an hour)'
	@echo 'make import SERIES=linux-6.12|linux-7.3|qemu DIR=NEW   patches -> git tree'
	@echo 'make export SERIES=linux-6.12|linux-7.3|qemu DIR=TREE  git tree -> patches and overlay'
	@echo 'make clean-cache   forget what was not used for two weeks (ALL=1: everything)'
	@echo
	@echo 'make mail SERIES=linux-7.3 [PART=N] DIR=NEW   what to mail to whom (nothing is sent)'
	@echo
	@echo 'The other kernel that there is a series for: BASE=6.12 in the environment of all of them. One of'
	@echo 'your own: LINUX_TARBALL=FILE or LINUX=DIR.'

deps:
	scripts/deps.sh

qemu: deps
	scripts/build-qemu.sh

CONFIG ?= run
kernel: deps
	scripts/build-kernel.sh $(CONFIG)

guest: deps
	scripts/build-guest.sh

run: deps
	vm/run

shell: deps
	vm/shell

bench: deps
	vm/bench $(if $(RECORD),--record)

benefit: deps
	vm/benefit $(if $(RECORD),--record)

benefit-many: deps
	vm/benefit-many $(if $(RECORD),--record)

mutants: deps
	vm/mutants

test:
	@scripts/test.sh $(if $(FULL),--full) $(STAGES)

kvm-check: deps
	scripts/kvm-check.sh

check: deps
	scripts/check.sh

check-builds: deps
	scripts/check-builds.sh

check-parts: deps
	scripts/check-parts.sh

apply:
	@env -u LINUX scripts/apply.sh '$(LINUX)'

import:
	scripts/import.sh '$(SERIES)' '$(DIR)'

export:
	scripts/export.sh '$(SERIES)' '$(DIR)'

mail:
	scripts/mail.sh $(if $(PART),--part $(PART)) '$(SERIES)' '$(DIR)'

clean-cache:
	scripts/clean-cache.sh $(if $(ALL),--all)

.PHONY: help deps qemu kernel guest run bench benefit benefit-many mutants shell test check check-builds check-parts kvm-check apply import export mail clean-cache
