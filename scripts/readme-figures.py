#!/usr/bin/env python3
"""Fill the parts of README.md that are made from other files.

readme-figures.py [--check] [ROOT]

- Between <!-- figures --> and <!-- /figures -->: a table of the newest
  figure of each row, from the records that gyre-bench --record left in
  bench/results/ (its plain JSON lines, as *.jsonl, are read as well).
- Between <!-- program --> and <!-- /program -->: examples/minimal.c.
With --check nothing is written; exit status 1 when README.md is not as it
would be made."""
import json
import pathlib
import re
import sys


def records(folder):
    """(name, description, rows) of each result file, oldest first."""
    for path in sorted(folder.glob("*.json*")):
        if path.name.startswith("soak-"):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line]
            yield path.name, {}, rows
        else:
            record = json.loads(text)
            yield path.name, record, record["rows"]


def figure(value):
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def figures(root):
    newest, order, sources = {}, [], {}
    for name, record, rows in records(root / "bench/results"):
        for row in rows:
            if row["bench"] in newest:
                order.remove(row["bench"])
            newest[row["bench"]] = (name, row)
            order.append(row["bench"])
        sources[name] = record
    if not order:
        return "No figures are kept yet."
    lines = ["| Row | Median | Least to most | Unit | Beside it |",
             "| --- | ---: | ---: | --- | --- |"]
    for bench in order:
        row = newest[bench][1]
        beside = ""
        if "ratio" in row:
            beside = (f"{row['ratio']:.2f} times {row['peer']} "
                      f"({figure(row['peer_median'])})")
        lines.append(f"| {bench} | {figure(row['median'])} "
                     f"| {figure(row['min'])} to {figure(row['max'])} "
                     f"| {row['unit']} | {beside} |")
    used = sorted({name for name, _ in newest.values()})
    for name in used:
        record = sources[name]
        if "cpu" in record:
            lines += ["", f"From bench/results/{name}: {record['cpu']}, "
                          f"{record['cpus']} processors, "
                          f"{record['compiler']}, {record['clock']} clock, "
                          f"{record['date'][:10]}."]
    return "\n".join(lines)


def program(root):
    text = (root / "examples/minimal.c").read_text(encoding="utf-8")
    return "```c\n" + text + "```"


def fill(text, marker, content):
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)",
                         re.S)
    text, count = pattern.subn(
        lambda m: m.group(1) + content + "\n" + m.group(2), text)
    if count != 1:
        sys.exit(f"README.md has {count} places for {marker}, not one")
    return text


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    readme = root / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = fill(old, "figures", figures(root))
    new = fill(new, "program", program(root))
    if "--check" not in sys.argv:
        readme.write_text(new, encoding="utf-8")
        return 0
    if new != old:
        print("README.md is out of date: run scripts/readme-figures.py")
        return 1
    print("README.md shows the newest figures and examples/minimal.c")
    return 0


sys.exit(main())
