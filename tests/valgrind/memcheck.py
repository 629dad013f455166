#!/usr/bin/env python3
"""Run each case under memcheck and read its report. memcheck.py VALGRIND CASES

A report is one error with its stacks; each case expects one whose lines come
in this order, and the clean one none at all.
"""
import re
import subprocess
import sys

# What the error says, then what of its stacks, in order.
EXPECTED = {
    "clean": [],
    "use_raw_after_free": [
        r"Invalid read of size 4", r"use_raw_after_free \(cases\.c",
        r"24 bytes inside a block of size 40 free'd", r"give_raw \(cases\.c",
        r"use_raw_after_free \(cases\.c", r"Block was alloc'd at",
        r"take_raw \(cases\.c", r"use_raw_after_free \(cases\.c"],
    "use_object_after_death": [
        r"Invalid read of size 4", r"use_object_after_death \(cases\.c",
        r"28 bytes inside a block of size 44 free'd", r"give_cell \(cases\.c",
        r"Block was alloc'd at", r"take_cell \(cases\.c",
        r"use_object_after_death \(cases\.c"],
    "overrun_raw": [
        r"Invalid write of size 1", r"overrun_raw \(cases\.c",
        r"0 bytes after a block of size 40 alloc'd", r"take_raw \(cases\.c",
        r"overrun_raw \(cases\.c"],
    "overrun_large": [
        r"Invalid write of size 1", r"overrun_large \(cases\.c",
        r"0 bytes after a block of size 100,000 alloc'd",
        r"take_raw \(cases\.c", r"overrun_large \(cases\.c"],
    "overrun_object": [
        r"Invalid write of size 1", r"overrun_object \(cases\.c",
        r"0 bytes after a block of size 44 alloc'd", r"take_cell \(cases\.c",
        r"overrun_object \(cases\.c"],
    "use_uninitialised": [
        r"Conditional jump or move depends on uninitialised value",
        r"use_uninitialised \(cases\.c",
        r"Uninitialised value was created", r"take_raw \(cases\.c"],
    "leak_raw": [
        r"40 bytes in 1 blocks are definitely lost", r"take_raw \(cases\.c",
        r"leak_raw \(cases\.c"],
    "leak_object": [
        r"44 bytes in 1 blocks are definitely lost", r"take_cell \(cases\.c",
        r"leak_object \(cases\.c"],
    "free_twice": [
        r"Invalid free", r"give_raw \(cases\.c", r"free_twice \(cases\.c",
        r"0 bytes inside a block of size 40 free'd", r"give_raw \(cases\.c",
        r"Block was alloc'd at", r"take_raw \(cases\.c"],
    "free_foreign": [
        r"Mismatched free", r"give_raw \(cases\.c", r"free_foreign \(cases\.c",
        r"0 bytes inside a block of size 40 alloc'd", r"malloc"],
}
# These end by a line of the library's as well.
FATAL = {"free_twice": "was freed already", "free_foreign": "no memory of any"}


def reports(text):
    """Errors as lists of lines, without memcheck's margin."""
    lines = [re.sub(r"^==\d+== ?", "", line) for line in text.splitlines()
             if re.match(r"^==\d+==", line)]
    found = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return found


def in_order(report, patterns):
    at = 0
    for line in report:
        if at < len(patterns) and re.search(patterns[at], line):
            at += 1
    return at == len(patterns)


def main():
    valgrind, program = sys.argv[1:]
    failed = 0
    for case, patterns in EXPECTED.items():
        run = subprocess.run(
            [valgrind, "--leak-check=full", "--track-origins=yes",
             "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite",
             "--error-exitcode=9", program, case],
            capture_output=True, text=True, timeout=240)
        if not patterns:
            good = run.returncode == 0
        else:
            good = any(in_order(report, patterns)
                       for report in reports(run.stderr))
            good = good and (case in FATAL or run.returncode == 9)
        good = good and FATAL.get(case, "") in run.stderr
        print(f"{'ok' if good else 'NOT ok'}  {case}", flush=True)
        if not good:
            failed += 1
            print(f"exit status {run.returncode}, expected:")
            print("\n".join(patterns) or "no error")
            print(run.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
