# The course: docs/course/ has its pages, a folder of this one the programs of each lesson.
# `make course` runs them all, and holds what they and the tools print against the pages.

CHECKS += course
BUILT  += course
BESIDE += course

PYTHON3 ?= /usr/bin/python3
COURSE   = $(if $(findstring clang,$(CC)),CLANG=1) PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) \
           test/course/run.py $(if $(LESSON),--lesson $(LESSON))

# What a program of the course, and one of your own, is linked with: all of common/.
COMMON_LIB := $(BUILD)/libcommon.a
COURSE_SRC := $(wildcard test/course/*/*.c)

$(COMMON_LIB): $(filter $(BUILD)/obj/common/%,$(OBJ))
	$(call say,AR)rm -f $@ && ar rcs $@ $^

$(BUILD)/test/course/%: $(BUILD)/obj/test/course/%.o $(COMMON_LIB)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

.SECONDARY: $(COURSE_SRC:%.c=$(BUILD)/obj/%.o)
-include $(COURSE_SRC:%.c=$(BUILD)/obj/%.d)

$(BUILD)/test/course/%.go: test/course/%.go
	@CGO_ENABLED=0 test/go-build.sh 'course $*' $(<D) $(<F) $@

# The threads of these are coroutines of the model checker (test/model/README.md).
$(ROOT)/model/test/course/%: test/course/%.c $(wildcard common/*.[ch] test/model/*)
	@mkdir -p $(@D)
	$(call say,MC)PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/model/run.py --cc gcc --lesson $< $@

# Which programs a build needs is known when a recipe asks for it: run.py reads it in the lessons.
.PHONY: course course-paste course-programs
built-course:
	@set -e; \
	for build in plain: thread:SANITIZE=thread address:SANITIZE=address perturb:PERTURB=1 model:; do \
	    programs=$$($(COURSE) --targets $${build%%:*}); \
	    $(MAKE) --no-print-directory $${build#*:} course-programs PROGRAMS="$$programs"; \
	done
course-programs: $(PROGRAMS)
	@:

ifeq ($(MINE),)
course: built-course ## the course: run its programs, Go and C, and hold its pages against them (LESSON=7: one; MINE=x.c: yours)
	@$(if $(LESSON),,PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/course/test_course.py 2>&1 || exit 1)
	@$(COURSE)
else
# Your own program, in the three builds that find most.
course:
	@for build in '' SANITIZE=thread SANITIZE=address; do \
	    $(MAKE) --no-print-directory $$build course-mine || exit 1; \
	done
	@$(COURSE) --mine $(MINE)

.PHONY: course-mine
MINE_BIN := $(BUILD)/mine/$(basename $(notdir $(MINE)))
course-mine: $(MINE_BIN)
$(MINE_BIN): $(MINE) $(COMMON_LIB)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(filter-out -Werror,$(ALL_CFLAGS)) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
endif

course-paste: built-course ## write into the pages of the course what the tools say now
	@$(COURSE) --paste

.PHONY: course-pages
course-pages: ## write into the pages of the course what is cut from the sources
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON3) test/docs/course.py --write
