#!/usr/bin/env python3
"""Check that what comments cite exists. check-tags.py [ROOT]

- A tag (`.mem.stable`) is declared where it begins a line, a list item or a
  table cell of docs/design/*.md, in backquotes, or stands in a heading. It is
  cited anywhere else in these files in backquotes, and in a comment of the
  code as docs/design/NAME.md .tag (then NAME.md must declare it) or as a bare
  word that begins with a dot.
- `pairs: name()` names a function or macro that is defined.
- An atomic operation that acquires or releases has a `pairs:` in the six
  lines above it, in its own line or in the next.
- Nothing silences a tool, and no work is left for later by a note.
"""
import pathlib
import re
import sys

CODE_FOLDERS = ("include", "src", "threads", "malloc", "tests", "stress",
                "bench", "examples", "docs/man")
LIBRARY_FOLDERS = ("include", "src", "threads", "malloc")
TAG = r"\.[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*"
# Words that begin with a dot and are no tags: names of files.
ENDINGS = {".c", ".h", ".cc", ".md", ".py", ".sh", ".gz", ".so", ".a", ".o",
           ".json", ".jsonl", ".heapsnapshot", ".pml", ".ltl"}
ORDERED = re.compile(
    r"\bgyre_(?:load|store|exchange|fetch_[a-z]+|cas(?:_weak)?)_"
    r"(?:acquire|release|acq_rel|seq_cst)\s*\(")
BANNED = re.compile(
    r"\b(?:TO" r"DO|FIX" r"ME|NO" r"LINT|no_" r"sanitize"
    r"|u?sleep\s*\(|nanosleep\s*\()|pragma\s+(?:GCC|clang)\s+diagnostic")
RAW_ATOMIC = re.compile(r"\b(?:__atomic_|__sync_|atomic_thread_fence)")


class Report:
    def __init__(self):
        self.problems = 0

    def say(self, path, line, text):
        print(f"{path}:{line}: {text}")
        self.problems += 1


def declared_tags(text):
    """Tags declared by one design document."""
    tags = set()
    for line in text.splitlines():
        if line.startswith("#"):
            tags.update(re.findall(r"(?:(?<=\s)|(?<=`))" + TAG, line))
        else:
            start = re.match(r"\s*(?:[-*|] *|\d+\. *)?\**((?:`" + TAG +
                             r"`[, and]*)+)", line)
            if start:
                tags.update(re.findall("`(" + TAG + ")`", start.group(1)))
    return tags


def comments(text):
    """(line, text on one line) of each comment; adjacent // lines apart."""
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
                       r"|/\*.*?\*/|//[^\n]*", re.S)
    for match in token.finditer(text):
        if match.group().startswith("/"):
            words = re.sub(r"\n\s*\*? ?|\\\n", " ", match.group())
            yield (text.count("\n", 0, match.start()) + 1,
                   re.sub(r"\s+", " ", words))


def files(root, folders, endings):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in endings and path.is_file():
                yield path


def check_citations(report, path, line, text, design, everywhere):
    for name, tags in re.findall(
            r"docs/design/([a-z-]+\.md)((?:[ ,;]*(?:and )?`?" + TAG + "`?)*)",
            text):
        if name not in design:
            report.say(path, line, f"there is no docs/design/{name}")
            continue
        for tag in re.findall(TAG, tags):
            if tag not in design[name] and tag not in ENDINGS:
                report.say(path, line, f"docs/design/{name} has no {tag}")
    bare = re.sub(r"docs/design/[a-z-]+\.md(?:[ ,;]*(?:and )?`?" + TAG +
                  "`?)*", "", text)
    for tag in re.findall(r"(?:(?<=[\s(])|(?<=`))" + TAG + r"(?![\w(=/*])",
                          bare):
        if tag not in everywhere and tag not in ENDINGS:
            report.say(path, line, f"no design document has {tag}")


def check_pairs(report, path, line, text, functions):
    for names in re.findall(r"pairs: ((?:\w+\(\)(?:,? (?:and )?)?)*)", text):
        found = re.findall(r"(\w+)\(\)", names)
        if not found:
            report.say(path, line, "pairs: names no function()")
        for name in found:
            if name not in functions:
                report.say(path, line, f"pairs: there is no {name}()")


def check_operations(report, path, lines):
    for number, line in enumerate(lines):
        if RAW_ATOMIC.search(line):
            report.say(path, number + 1, "an atomic without its order's name")
        if ORDERED.search(line):
            around = lines[max(0, number - 6):number + 2]
            if not any("pairs:" in other for other in around):
                report.say(path, number + 1,
                           "ordered operation without a pairs:")


def defined_functions(root):
    names = set()
    for path in files(root, CODE_FOLDERS, {".c", ".h"}):
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"^(\w+)\(", text, re.M))
        names.update(re.findall(r"^#define (\w+)\(", text, re.M))
    return names


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    report = Report()
    documents = {path: path.read_text(encoding="utf-8")
                 for path in sorted((root / "docs/design").glob("*.md"))}
    design = {path.name: declared_tags(text)
              for path, text in documents.items()}
    everywhere = set().union(*design.values())
    for path, text in documents.items():
        for number, line in enumerate(text.splitlines(), 1):
            for tag in re.findall("`(" + TAG + ")`", line):
                if tag not in everywhere and tag not in ENDINGS:
                    report.say(path, number, f"{tag} is declared nowhere")

    functions = defined_functions(root)
    cited = 0
    for path in files(root, CODE_FOLDERS, {".c", ".h", ".cc", ".pml"}):
        text = path.read_text(encoding="utf-8")
        for line, comment in comments(text):
            cited += comment.count("docs/design/")
            check_citations(report, path, line, comment, design, everywhere)
            check_pairs(report, path, line, comment, functions)
        for number, line in enumerate(text.splitlines(), 1):
            if BANNED.search(line):
                report.say(path, number, "not wanted here: " + line.strip())
    for path in files(root, LIBRARY_FOLDERS, {".c", ".h"}):
        if path.name != "atomic.h":
            check_operations(report, path,
                             path.read_text(encoding="utf-8").splitlines())

    if report.problems:
        print(f"{report.problems} problems")
        return 1
    print(f"{len(everywhere)} tags, {cited} citations: all there")
    return 0


sys.exit(main())
