# What is made of the table of flags (nsqd/core/nsqd_flags.c), of docs/configuration.md, which has
# the defaults and says what each flag means, and of the table of docs/settings.md:
#
#   awk -v what=man  -f docs/generate.awk common/version.h nsqd/core/nsqd_flags.c \
#       docs/configuration.md docs/settings.md
#
#   what=man     nsqd(1)
#   what=bash    completion for bash
#   what=zsh     completion for zsh
#   what=config  nsqd.cfg.example
#   what=check   nothing
#
# Whatever is wanted, a flag that stands in one of the two tables only, or has another key there, is
# an error. Any POSIX awk will do.

function fail(text) {
    print "docs/generate.awk: " text > "/dev/stderr"
    failed = 1
    exit 1
}

# --- the table of flags ----------------------------------------------------------------------------

# The first text in quotes of s, and s behind it in REST.
function literal(s) {
    if (!match(s, /"[^"]*"/))
        fail("no text in quotes: " s)
    REST = substr(s, RSTART + RLENGTH)
    return substr(s, RSTART + 1, RLENGTH - 2)
}

# One row, without its comments: OPT(...), OPT_CFG(...), ONLY_FLAG(...) or {...}.
function add_flag(row,    name, key) {
    name = literal(row)
    key = name
    gsub(/-/, "_", key)
    if (row ~ /^(OPT_CFG\(|\{)/)
        key = literal(REST)
    if (row ~ /^ONLY_FLAG/)
        key = ""
    if (!match(row, /type_[a-z0-9_]+/))
        fail("--" name " has no type")
    flags[++n_flags] = name
    config_key[name] = key
    type[name] = substr(row, RSTART + 5, RLENGTH - 5)
}

FILENAME ~ /version\.h$/ && /^#define (NSQ|PRODUCT)_(VERSION|NAME) / {
    version[$2] = literal($0)
}

FILENAME ~ /nsqd_flags\.c$/ {
    if (/^static const struct row rows\[\]/) {
        in_rows = 1
        next
    }
    if (in_rows && /^};/) {
        if (row != "")
            add_flag(row)
        in_rows = 0
    }
    if (!in_rows)
        next
    line = $0
    gsub(/\/\*[^*]*\*\//, "", line)
    sub(/^[ \t]+/, "", line)
    if (line ~ /^(OPT\(|OPT_CFG\(|ONLY_FLAG\(|\{)/) {
        if (row != "")
            add_flag(row)
        row = ""
    }
    row = row " " line
    sub(/^ /, "", row)
}

# --- the page --------------------------------------------------------------------------------------

# The text of a cell, without the backquotes of one that is all in them; its blanks count, then.
function cell(s) {
    sub(/^ /, "", s)
    sub(/ $/, "", s)
    if (s ~ /^`[^`]*`$/)
        return substr(s, 2, length(s) - 2)
    return s
}

function add_option(line,    c, name) {
    if (split(line, c, "|") != 7)
        fail("five cells are wanted: " line)
    name = cell(c[2])
    sub(/^--/, "", name)
    if (!(name in type))
        fail("docs/configuration.md has --" name ", which is no flag")
    if (name in meaning)
        fail("docs/configuration.md has --" name " twice")
    if (cell(c[3]) != config_key[name])
        fail("the key of --" name " is \"" config_key[name] "\" in the code, \"" cell(c[3]) \
             "\" in docs/configuration.md")
    default_of[name] = cell(c[4])
    meaning[name] = c[5]
    gsub(/^ +| +$/, "", meaning[name])
}

# "[text](where)" is "text".
function without_links(s,    text) {
    while (match(s, /\[[^]\[]*\]\([^)]*\)/)) {
        text = substr(s, RSTART + 1, RLENGTH - 1)
        sub(/\]\(.*/, "", text)
        s = substr(s, 1, RSTART - 1) text substr(s, RSTART + RLENGTH)
    }
    return s
}

function plain(s) {
    s = without_links(s)
    gsub(/`|\*\*/, "", s)
    return s
}

FILENAME ~ /configuration\.md$/ {
    if (/^## /)
        section = substr($0, 4)
    else if (section == "Options" && /^\| `--/)
        add_option($0)
    else
        page[section] = page[section] $0 "\n"
}

# The table of settings: test/docs/settings.py compares it with the code.
FILENAME ~ /settings\.md$/ && /^\| `[a-z_]+` \| (topic|channel)/ {
    if (split($0, setting_cell, "|") != 7)
        fail("five cells are wanted: " $0)
    settings[++n_settings] = cell(setting_cell[2])
    setting_of[n_settings] = cell(setting_cell[3])
    setting_value[n_settings] = setting_cell[4]
    setting_default[n_settings] = setting_cell[5]
    setting_meaning[n_settings] = setting_cell[6]
    gsub(/^ +| +$/, "", setting_value[n_settings])
    gsub(/^ +| +$/, "", setting_default[n_settings])
    gsub(/^ +| +$/, "", setting_meaning[n_settings])
}

# --- what may stand behind a flag ------------------------------------------------------------------

# Words to choose from; or "FILE", "DIRECTORY"; or "", anything.
function choices(name,    t) {
    t = type[name]
    if (name in choice)
        return choice[name]
    return t in choice_of_type ? choice_of_type[t] : ""
}

function is_boolean(name) {
    return type[name] == "bool" || type[name] == "tls_required" || type[name] == "version"
}

function placeholder(name,    c) {
    c = choices(name)
    if (c == "FILE" || c == "DIRECTORY")
        return tolower(c)
    if (c != "" && type[name] != "strings") {
        gsub(/ /, "|", c)
        return c
    }
    return type[name] == "int64" ? "int" : type[name] == "strings" ? "text" : \
           type[name] == "floats" ? "number" : type[name] == "string" ? "text" : type[name]
}

function set_choices(    name) {
    choice_of_type["bool"] = "true false"
    choice_of_type["log_level"] = "debug info warn error fatal"
    choice_of_type["tls_required"] = "true false tcp-https"
    choice_of_type["tls_min_version"] = "tls1.0 tls1.1 tls1.2 tls1.3"
    choice_of_type["version"] = "true false long"
    choice_of_type["format"] = "text json"
    choice["config"] = choice["tls-cert"] = choice["tls-key"] = choice["tls-root-ca-file"] = "FILE"
    choice["data-path"] = "DIRECTORY"
    choice["tls-client-auth-policy"] = "require require-verify"
    choice["auth-http-request-method"] = "get post"
    choice["enable-experiment"] = "topology-aware-consumption"
    for (name in choice)
        if (!(name in type))
            fail("there is no flag --" name " any more")
}

# --- nsqd(1) ---------------------------------------------------------------------------------------

# For roff: backquotes make bold. (A dot at the beginning of a line is the caller's matter.)
function roff(s,    out, bold) {
    s = without_links(s)
    gsub(/\\/, "\\e", s)
    gsub(/-/, "\\-", s)
    gsub(/'/, "\\(aq", s)
    gsub(/\^/, "\\(ha", s)
    gsub(/~/, "\\(ti", s)
    gsub(/\*\*/, "`", s)
    while (match(s, /`/)) {
        bold = !bold
        out = out substr(s, 1, RSTART - 1) (bold ? "\\fB" : "\\fR")
        s = substr(s, RSTART + 1)
    }
    return out s
}

# A text for roff in lines of at most 80 bytes.
function roff_text(s,    n, words, i, line) {
    n = split(roff(s), words, " ")
    for (i = 1; i <= n; i++) {
        if (line != "" && length(line) + 1 + length(words[i]) > 79) {
            print (line ~ /^\./ ? "\\&" : "") line
            line = ""
        }
        line = line (line == "" ? "" : " ") words[i]
    }
    print (line ~ /^\./ ? "\\&" : "") line
}

# What has been gathered of the page. Behind a heading a paragraph needs no mark.
function paragraph(    text) {
    if (pending == "")
        return
    text = pending
    pending = ""
    if (in_item)
        print ".IP \\(bu 2"
    else if (!first)
        print ".PP"
    first = 0
    roff_text(text)
}

# The lines of a section of the page: paragraphs, items, tables of two columns, and examples.
function roff_section(title, name,    n, i, lines, line, c, example) {
    if (!(name in page))
        fail("docs/configuration.md has no section " name)
    print ".SH " title
    n = split(page[name], lines, "\n")
    in_item = 0
    first = 1
    for (i = 1; i <= n; i++) {
        line = lines[i]
        if (line ~ /^    / && !in_item_text(line)) {
            if (!example) {
                paragraph()
                print ".PP\n.in +4n\n.nf"
            }
            example = 1
            line = roff(substr(line, 5))
            print (line ~ /^\./ ? "\\&" : "") line
            continue
        }
        if (example)
            print ".fi\n.in"
        example = 0
        if (line ~ /^\|/) {
            paragraph()
            if (line ~ /^\|-/ || lines[i + 1] ~ /^\|-/)
                continue
            split(line, c, "|")
            print ".TP"
            print roff("`" plain(cell(c[2])) "`")
            roff_text(cell(c[3]))
        } else if (line == "") {
            paragraph()
            in_item = 0
        } else if (line ~ /^\* /) {
            paragraph()
            in_item = 1
            pending = substr(line, 3)
        } else {
            sub(/^ +/, "", line)
            pending = pending (pending == "" ? "" : " ") line
        }
    }
    paragraph()
}

# Lines of an item are indented by two; four and more are an example.
function in_item_text(line) {
    return in_item && line !~ /^    /
}

function man_option(name) {
    print ".TP"
    if (is_boolean(name))
        print "\\fB\\-\\-" roff(name) "\\fR[=\\fI" roff(placeholder(name)) "\\fR]"
    else
        print "\\fB\\-\\-" roff(name) "\\fR=\\fI" roff(placeholder(name)) "\\fR"
    roff_text(meaning[name] ".")
    if (default_of[name] != "")
        roff_text("Default: " default_of[name] ".")
    if (config_key[name] != "")
        roff_text("In the config file: `" config_key[name] "`.")
}

function man_settings(    i) {
    print ".SH SETTINGS"
    roff_text("Of topics and channels, by `[[policy]]` tables of the config file, or at run time " \
               "by PUT `/topic/config` and `/channel/config`. A channel inherits from its topic.")
    for (i = 1; i <= n_settings; i++) {
        print ".TP"
        print roff("`" settings[i] "`") " (" setting_of[i] ")"
        roff_text(setting_meaning[i] ".")
        roff_text("Value: " setting_value[i] ". Default: " setting_default[i] ".")
    }
}

function man(    i) {
    print ".\\\" Made by docs/generate.awk."
    print ".TH NSQD 1 \"\" \"" version["PRODUCT_NAME"] " " version["PRODUCT_VERSION"] \
          "\" \"User Commands\""
    print ".SH NAME\nnsqd \\- the daemon of NSQ that takes, keeps and delivers messages"
    print ".SH SYNOPSIS\n.B nsqd\n[\\fIflag\\fR ...]"
    print ".br\n.B nsqd \\-\\-check\\-config\n[\\fIflag\\fR ...]"
    print ".br\n.B nsqd \\-\\-inspect\\-data\n[\\fB\\-\\-format=json\\fR] [\\fIflag\\fR ...]"
    print ".br\n.B nsqd \\-\\-version\\fR[=\\fBlong\\fR]"
    print ".SH DESCRIPTION"
    roff_text("nsqd receives messages over TCP and HTTP, queues them in memory and on disk, and " \
               "delivers them to the consumers of its channels. It takes the flags, the config " \
               "file, the protocols and the files of nsqd " version["NSQ_VERSION"] ". It runs in " \
               "the foreground, and logs to stderr. SIGTERM and SIGINT stop it: what is in " \
               "memory goes to disk.")
    roff_section("CONFIGURATION", "Where a value comes from")
    print ".SH OPTIONS"
    for (i = 1; i <= n_flags; i++)
        man_option(flags[i])
    man_settings()
    roff_section("ADDRESSES", "Addresses")
    roff_section("BEFORE A START", "Before a start")
    roff_section("EXIT STATUS", "Exit codes")
    print ".SH FILES"
    print ".TP\n.I nsqd.dat\nThe topics and channels, in the data path."
    print ".TP\n.I nsqd.settings.json\nWhat was set for them at run time."
    print ".TP\n.I TOPIC.diskqueue.*\\fR, \\fITOPIC:CHANNEL.diskqueue.*"
    print "Their messages on disk."
    print ".SH SEE ALSO\nhttps://nsq.io"
}

# --- completion ------------------------------------------------------------------------------------

function by_choice(c,    i, list) {
    for (i = 1; i <= n_flags; i++)
        if (choices(flags[i]) == c)
            list = list (list == "" ? "" : "|") flags[i]
    return list
}

# The flags that take a value from the next word, or (boolean) do not.
function flags_that(boolean,    i, list) {
    for (i = 1; i <= n_flags; i++)
        if (is_boolean(flags[i]) == boolean)
            list = list (list == "" ? "" : " ") flags[i]
    return list
}

function bash(    i, c, seen) {
    print "# Completion of nsqd for bash. Made by docs/generate.awk."
    print "_nsqd_values()\n{\n    case $1 in"
    for (i = 1; i <= n_flags; i++) {
        c = choices(flags[i])
        if (c == "" || c in seen)
            continue
        seen[c] = 1
        print "        " by_choice(c) ")"
        if (c == "FILE" || c == "DIRECTORY") {
            print "            compopt -o filenames 2>/dev/null"
            print "            mapfile -t COMPREPLY < <(compgen -" (c == "FILE" ? "f" : "d") " -- \"$2\") ;;"
        } else {
            print "            mapfile -t COMPREPLY < <(compgen -W '" c "' -- \"$2\") ;;"
        }
    }
    print "    esac\n}\n"
    print "_nsqd()\n{"
    print "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flag= dashes=--"
    print "    local takes_value=' " flags_that(0) " '"
    print "    local boolean=' " flags_that(1) " '"
    print "    COMPREPLY=()"
    print "    # --flag=value comes as three words, since = breaks them."
    print "    if [[ $cur == = ]]; then"
    print "        flag=$prev cur="
    print "    elif [[ $prev == = && $COMP_CWORD -ge 2 ]]; then"
    print "        flag=${COMP_WORDS[COMP_CWORD-2]}"
    print "    elif [[ $prev == -* && $takes_value == *\" ${prev##*--} \"* ]]; then"
    print "        flag=$prev"
    print "    elif [[ $prev == -* && $takes_value == *\" ${prev#-} \"* ]]; then"
    print "        flag=$prev"
    print "    fi"
    print "    flag=${flag#-}"
    print "    if [[ -n $flag ]]; then"
    print "        _nsqd_values \"${flag#-}\" \"$cur\""
    print "        return"
    print "    fi"
    print "    compopt -o nospace 2>/dev/null"
    print "    [[ $cur == -[!-]* ]] && dashes=-"
    print "    for flag in $takes_value; do"
    print "        [[ $dashes$flag= == \"$cur\"* ]] && COMPREPLY+=(\"$dashes$flag=\")"
    print "    done"
    print "    for flag in $boolean; do"
    print "        [[ $dashes$flag == \"$cur\"* ]] && COMPREPLY+=(\"$dashes$flag \")"
    print "    done"
    print "} &&"
    print "complete -F _nsqd nsqd"
}

# In a specification of _arguments, between apostrophes.
function zsh_text(s) {
    s = plain(s)
    gsub(/\\/, "\\\\", s)
    gsub(/\[/, "\\[", s)
    gsub(/\]/, "\\]", s)
    gsub(/:/, "\\:", s)
    gsub(/'/, "'\\''", s)
    return s
}

function zsh(    i, name, c, action, spec) {
    print "#compdef nsqd\n# Completion of nsqd for zsh. Made by docs/generate.awk.\n_arguments \\"
    for (i = 1; i <= n_flags; i++) {
        name = flags[i]
        c = choices(name)
        action = c == "FILE" ? "_files" : c == "DIRECTORY" ? "_files -/" : c == "" ? " " : "(" c ")"
        spec = (type[name] == "strings" || type[name] == "floats" ? "*" : "") "--" name "=" \
               (is_boolean(name) ? "-" : "") "[" zsh_text(meaning[name]) "]:" \
               (is_boolean(name) ? ":" : "") (c == "" ? placeholder(name) : "value") ":" action
        print "    '" spec "'" (i == n_flags ? "" : " \\")
    }
}

# --- nsqd.cfg.example ------------------------------------------------------------------------------

# The value that the file shows: the default, as TOML. Some defaults are no fixed value.
function toml(name,    d, t) {
    d = default_of[name]
    t = type[name]
    if (name in example)
        d = example[name]
    if (t == "strings" || t == "floats") {
        if (d != "")
            fail("a list with a default: --" name)
        return "[]"
    }
    if (t == "bool" || t == "tls_required") {
        if (d != "true" && d != "false")
            fail("the default of --" name " is neither true nor false: " d)
        return d
    }
    if (t == "int" || t == "int64") {
        if (d !~ /^[0-9]+$/)
            fail("the default of --" name " is no number: " d)
        return d
    }
    gsub(/\\/, "\\\\", d)
    gsub(/"/, "\\\"", d)
    return "\"" d "\""
}

function wrapped(text,    n, words, i, line) {
    n = split(text, words, " ")
    line = "##"
    for (i = 1; i <= n; i++) {
        if (length(line) + 1 + length(words[i]) > 100) {
            print line
            line = "##"
        }
        line = line " " words[i]
    }
    print line
}

function config(    i, name) {
    example["node-id"] = "0"
    example["broadcast-address"] = "nsqd1.example.com"
    example["broadcast-tcp-port"] = example["broadcast-http-port"] = "0"
    print "## The config file of nsqd: nsqd --config=nsqd.cfg. Made by docs/generate.awk."
    print "##"
    wrapped("Each option stands here with its default, behind a #. Lists look like this: " \
            "[\"one:4160\", \"two:4160\"], durations like this: \"1m30s\". The command line beats " \
            "this file. nsqd --check-config --config=nsqd.cfg says what is wrong with it.")
    for (i = 1; i <= n_flags; i++) {
        name = flags[i]
        if (config_key[name] == "")
            continue
        print ""
        wrapped(plain(meaning[name]))
        if (name in example)
            wrapped("(default: " default_of[name] ")")
        print "# " config_key[name] " = " toml(name)
    }
    print ""
    wrapped("Settings of the topics whose names match, and of their channels. There may be several " \
            "such tables, behind all options; the later one wins. docs/settings.md and nsqd(1) have " \
            "all settings.")
    print "# [[policy]]"
    print "# match = \"orders.*\""
    print "# max_depth = 100000"
    print "# message_ttl = \"24h\""
}

END {
    if (failed)
        exit 1
    if (n_flags == 0)
        fail("no table of flags")
    if (n_settings == 0)
        fail("no table of settings")
    for (i = 1; i <= n_flags; i++)
        if (!(flags[i] in meaning))
            fail("docs/configuration.md does not have --" flags[i])
    set_choices()
    if (what == "man")
        man()
    else if (what == "bash")
        bash()
    else if (what == "zsh")
        zsh()
    else if (what == "config")
        config()
    else if (what != "check")
        fail("what=man, bash, zsh, config or check")
}
