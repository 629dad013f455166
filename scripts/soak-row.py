#!/usr/bin/env python3
"""Append a run's JSON (in the environment variable JSON) to a file, with
what else is known of it, and print its verdict.

soak-row.py FILE name=value..."""
import json
import os
import sys


def main():
    row = dict(argument.split("=", 1) for argument in sys.argv[2:])
    try:
        row["result"] = json.loads(os.environ["JSON"])
        verdict = row["result"]["verdict"]
    except (ValueError, KeyError):
        row["result"] = None
        verdict = "no result, exit status " + row["status"]
    with open(sys.argv[1], "a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
    print(verdict)


main()
