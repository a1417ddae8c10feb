# The static site of all pages, of the course and of the sources, and a look at it in a browser.

CHECKS += site-check
BUILT  += site-check
BESIDE += site-check

SITE       := $(ROOT)/site
SITE_TOOLS := $(ROOT)/site-tools
SITE_PORT  ?= 8000

.PHONY: site site-check site-serve built-site-check deps-site
deps-site: ## install the Debian packages that `make site` and `make site-check` need
	@test/install-deps.sh $(DEPS_SITE)

$(SITE_TOOLS)/ready: test/site/setup.sh test/venv.sh test/fetch.sh test/site/requirements.txt
	@test/site/setup.sh $(@D)

site: $(SITE_TOOLS)/ready ## build the static site of all pages, the course and the sources: build/site
	@test/site/build.sh $(SITE_TOOLS) $(SITE)

# If the tools cannot be had, the stage says so.
built-site-check:
	@$(MAKE) --no-print-directory $(SITE_TOOLS)/ready || true

site-check: ## build the site, and look at each page in a browser; pictures in build/site-shots
	@MAKE='$(MAKE)' test/site/check.sh $(SITE_TOOLS) $(SITE) $(ROOT)/site-shots

site-serve: site ## build the site, and serve it on this machine: SITE_PORT=8000
	@cd $(SITE) && python3 -m http.server --bind 127.0.0.1 $(SITE_PORT)
