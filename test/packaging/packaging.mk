# The Debian package and the systemd unit: build, check, and try them.

CHECKS += packaging
BUILT  += packaging
IDLE   += packaging

# What building the package needs on top of DEPS, what checking it needs, and what trying it needs.
DEPS_DEB  := dpkg-dev debhelper fakeroot
DEPS_TEST += $(DEPS_DEB) lintian systemd-analyze:systemd git:git
DEPS_TRY  := $(DEPS_DEB) mmdebstrap systemd-container

.PHONY: deb
deb: ## the Debian package of this tree: build/nsqd-c_VERSION_ARCH.deb
	@test/install-deps.sh $(DEPS) $(DEPS_DEB)
	@test/packaging/deb.sh $(VERSION)

.PHONY: packaging built-packaging
built-packaging:
packaging: ## check what packagers count on: install, the Debian package, the systemd unit
	@MAKE='$(MAKE)' test/packaging/check.sh $(VERSION)

.PHONY: try-deb
try-deb: deb ## install, upgrade and purge the package on a small Debian with systemd (root, a mirror)
	@test/install-deps.sh $(DEPS_TRY)
	@test/packaging/try-deb.sh $(ROOT)/nsqd-c_$(VERSION)_$$(dpkg --print-architecture).deb $(RELEASE)

.PHONY: try-image try-builds
try-image: $(STOCK_BIN) ## build docs/install/Containerfile, and start its nsqd (root, a mirror)
	@test/install-deps.sh buildah crun mmdebstrap
	@test/packaging/try-image.sh $(STOCK_DIR)

try-builds: ## build with every gcc and clang of a release, and for aarch64 (root, a mirror; RELEASE=)
	@test/install-deps.sh mmdebstrap
	@test/packaging/try-builds.sh $(RELEASE)
