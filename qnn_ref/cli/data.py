"""`qnn-ref data`: list, fetch and verify the data sets."""

from __future__ import annotations

import argparse

from qnn_ref import datasets
from qnn_ref.cli.common import answer

VERDICTS = {True: "ok", False: "WRONG", None: "unknown"}


def run(args: argparse.Namespace) -> int:
    """Do what the action says; verify answers 1 unless each file is the published one."""
    if args.action == "list":
        return show(args)
    if args.name is None:
        raise ValueError(f"NAME: `qnn-ref data {args.action}` needs the name of a data set")
    if args.action == "fetch":
        path = datasets.fetch(args.name, args.data)
        answer(args, {"name": args.name, "path": str(path)}, f"{args.name}: {path}")
        return 0
    checks = datasets.verify(args.name, args.data)
    passed = all(check.ok for check in checks)
    lines = [f"{VERDICTS[c.ok]:<7} {c.file}  {c.message}".rstrip() for c in checks]
    rows = [{"file": c.file, "ok": c.ok, "message": c.message} for c in checks]
    answer(args, {"passed": passed, "files": rows}, "\n".join(lines))
    return 0 if passed else 1


def show(args: argparse.Namespace) -> int:
    """List what is here and what can be fetched."""
    listings = datasets.available(args.data)
    rows = [{"name": e.name, "state": e.state, "path": e.path and str(e.path)} for e in listings]
    lines = [f"{e.name:<15} {e.state:<12} {e.path or ''}".rstrip() for e in listings]
    answer(args, {"datasets": rows}, "\n".join(lines))
    return 0
