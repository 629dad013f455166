#!/usr/bin/env python3
"""Show the instructions that the fast paths execute, as compiled.

count-instructions.py [build/release/tests/fastpath]

The program counts (and is a unit test); this prints each counted instruction
from objdump's listing, so that a change in a count can be seen."""
import re
import subprocess
import sys


def listing(program):
    """Instruction text by offset, and the offset of the first address."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program],
                         check=True, capture_output=True, text=True).stdout
    found = {}
    for line in out.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+(.*\S)", line)
        if match:
            found[int(match.group(1), 16)] = match.group(2)
    return found


def main():
    program = (sys.argv[1] if len(sys.argv) > 1
               else "build/release/tests/fastpath")
    instructions = listing(program)
    run = subprocess.run([program, "--trace"], capture_output=True, text=True,
                         check=False)
    for line in run.stdout.splitlines():
        if re.fullmatch("[0-9a-f]+", line):
            line = "    " + instructions.get(int(line, 16), line)
        print(line)
    return run.returncode


sys.exit(main())
