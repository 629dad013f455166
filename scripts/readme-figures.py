#!/usr/bin/env python3
"""Fill the parts of README.md that are made from other files.

readme-figures.py [--check] [ROOT]

- Between <!-- figures --> and <!-- /figures -->: tables of the newest
  figure of each row, from the records that gyre-bench --record left in
  bench/results/ (its plain JSON lines, as *.jsonl, are read as well). Rows
  measured beside other allocators have a table of their own.
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


# rows of old records that gyre-bench has no more
GONE = {"throughput.alloc_stop"}


def figure(value):
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def newest_rows(root):
    """The newest figure of each row, in the order of its file; and each
    file's description."""
    newest, sources = {}, {}
    for name, record, rows in records(root / "bench/results"):
        for row in rows:
            newest.pop(row["bench"], None)
            newest[row["bench"]] = (name, row)
        sources[name] = record
    # a row that was measured with one thread has been given a name that says
    # so since
    return {bench: found for bench, found in newest.items()
            if bench + "/1" not in newest and bench not in GONE}, sources


def goal(row):
    """What was to be reached, and whether it was."""
    if "met" not in row:
        return ""
    bound = "at least" if row.get("better") == "more" else "at most"
    wanted = []
    if "goal" in row:
        wanted.append(f"{row['goal']:g}")
    if "ratio_goal" in row:
        wanted.append(f"{row['ratio_goal']:g} times")
    if "excess" in row:
        wanted[-1] += f" or control + {row['excess']:g}"
    return (f"{bound} {' and '.join(wanted)}: "
            f"{'met' if row['met'] else '**missed**'}")


def plain_table(rows):
    lines = ["| Row | Median | Least to most | Unit | Beside it | Goal |",
             "| --- | ---: | ---: | --- | --- | --- |"]
    for row in rows:
        beside = ", ".join(f"{name} {figure(series['median'])}" for
                           name, series in row.get("beside", {}).items())
        if "ratio" in row:
            beside = (f"{row['ratio']:.2f} times {row['peer']} "
                      f"({figure(row['peer_median'])})")
        lines.append(f"| {row['bench']} | {figure(row['median'])} "
                     f"| {figure(row['min'])} to {figure(row['max'])} "
                     f"| {row['unit']} | {beside} | {goal(row)} |")
    return lines


def peer_table(rows, peers):
    """Rows that other allocators do too, a column each."""
    lines = ["| Row | Unit | gyre | Least to most | " + " | ".join(peers) +
             " | Times the best peer | Goal |",
             "| --- | --- | ---: | ---: |" + " ---: |" * len(peers) +
             " ---: | --- |"]
    for row in rows:
        cells = [row["bench"], row["unit"], figure(row["median"]),
                 f"{figure(row['min'])} to {figure(row['max'])}"]
        for peer in peers:
            series = row["peers"].get(peer)
            cells.append(figure(series["median"]) if series else "")
        cells.append(f"{row['ratio']:.2f}" if "ratio" in row else "")
        cells.append(goal(row))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def figures(root):
    newest, sources = newest_rows(root)
    if not newest:
        return "No figures are kept yet."
    rows = [row for _, row in newest.values()]
    beside = [row for row in rows if row.get("peers")]
    lines = plain_table([row for row in rows if not row.get("peers")])
    if beside:
        peers = list(dict.fromkeys(p for row in beside for p in row["peers"]))
        lines += ["", "Beside other allocators, medians of the same work in "
                      "the same invocation; gyre-malloc is gyre behind "
                      "`malloc`:", ""]
        lines += peer_table(beside, peers)
    used = sorted({name for name, _ in newest.values()})
    for name in used:
        record = sources[name]
        if "cpu" not in record:
            continue
        lines += ["", f"From bench/results/{name}: {record['cpu']}, "
                      f"{record['cpus']} processors, "
                      f"{record['compiler']}, {record['clock']} clock, "
                      f"{record['date'][:10]}."]
        peers = [version for peer, version in record.get("peers", {}).items()
                 if peer != "gyre-malloc"]
        if peers:
            lines[-1] += f" Peers: {', '.join(peers)}."
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
