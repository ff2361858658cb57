"""Small scenarios, all of whose interleavings are explored: writers, compactors, readers, clocks, purges."""

import ast
import itertools
import os
import sys
import time

from explore import Model, explore, show
from protocol import ABSENT, ANY, Cfg

S = ("save", "a")
SH = ("save", "a", ANY, True)
SA = ("save", "a", ABSENT)
D = ("del", "a")
RM = ("rmw", "a")
RD = ("rmw", "a", "d")
Q = ("q",)
COMPACT = ("compact",)
FULL = ("full",)
MERGE = ("merge", 0, 2)
RESOLVE = ("resolve",)
GC = ("gc",)
OPS = [S, SH, SA, D, RM, RD]


def name(t):
    return {S: "save", SH: "save*", SA: "create", D: "delete", RM: "rmw", RD: "rmw-del"}.get(t, t[0])


PRE = {
    "empty": [],
    "live": [("P", [S])],
    "tombstone": [("P", [S, D])],
    "live in segment": [("P", [S]), ("PC", [COMPACT])],
    "purged": [("P", [S, D]), ("tick", 12), ("PC", [COMPACT, FULL])],
    "tombstone gone": [("P", [S, D]), ("tick", 12), ("PC", [COMPACT, GC])],
    "two segments": [("P", [S]), ("PC", [COMPACT]), ("P2", [SH]), ("PC2", [COMPACT])],
    "put and tombstone apart": [("P", [S]), ("PC", [COMPACT]), ("P2", [D]), ("PC2", [COMPACT]), ("tick", 6)],
    "created, not listed": [],
}
OVER = ast.literal_eval(os.environ.get("VAR", "{}"))
secs = float(sys.argv[2]) if len(sys.argv) > 2 else 60
sel = sys.argv[1] if len(sys.argv) > 1 else "ABCDE"
T = {"states": 0, "trans": 0, "n": 0, "cut": 0, "terms": 0}
t0 = time.process_time()


def go(label, pre, procs, cfg=None, **k):
    cfg = cfg or Cfg()
    for a, v in OVER.items():
        assert hasattr(cfg, a)
        setattr(cfg, a, v)
    m = Model(cfg, ["a"], procs, prelude=PRE[pre], **k)
    r = explore(m, secs=secs)
    T["states"] += r["states"]
    T["trans"] += r["trans"]
    T["terms"] += r["terms"]
    T["n"] += 1
    T["cut"] += not r.get("complete", True)
    if r["bad"] or not r.get("complete", True) or r["secs"] > 8:
        print(
            "%-60s %-24s states %8d steps %9d ends %6d %5.1fs %s"
            % (
                label,
                pre,
                r["states"],
                r["trans"],
                r["terms"],
                r["secs"],
                r["bad"] or ("" if r["complete"] else "(cut)"),
            ),
            flush=True,
        )
    if r["bad"]:
        Model.track = True
        print("FOUND in scenario %d, after %d states in all, %.0fs" % (T["n"], T["states"], time.process_time() - t0))
        m = Model(cfg, ["a"], procs, prelude=PRE[pre], **k)
        r = explore(m, secs=secs)
        show(m, r["path"])
        print(r["bad"])
        sys.exit(1)


def nm(*ts):
    return "+".join(name(t) for t in ts)


if "A" in sel:  # writers only
    for pre in ("empty", "live", "tombstone", "live in segment"):
        for x, y in itertools.combinations_with_replacement(OPS, 2):
            go(
                f"A {name(x)} | {name(y)}, 2 crashes, 2 ambiguous",
                pre,
                [("A", [x]), ("B", [y])],
                crashes=2,
                ambs=2,
            )
        for x, y, z in itertools.combinations_with_replacement((S, SH, D, RM), 3):
            go(
                f"A {name(x)} | {name(y)} | {name(z)}, 1 crash",
                pre,
                [("A", [x]), ("B", [y]), ("C", [z])],
                crashes=1,
                ambs=0,
            )
    for x, y, z in ((D, S, SH), (D, SA, RM), (S, D, S), (D, SA, SA), (D, S, D), (RD, SA, SA)):
        go(
            f"A {name(x)} ; {name(y)} | {name(z)}, 1 crash, 1 ambiguous, skew",
            "live",
            [("A", [x, y]), ("B", [z])],
            crashes=1,
            ambs=1,
            skew={"A": -3, "B": 4},
        )
        go(
            f"A {name(x)} ; {name(y)} | {name(z)}, 1 crash, 1 ambiguous, skew",
            "live",
            [("A", [x, y]), ("B", [z])],
            crashes=1,
            ambs=1,
            skew={"A": 4, "B": -3},
        )
    print("A", T, round(time.process_time() - t0), flush=True)
if "B" in sel:  # writers and one compactor
    for pre in ("empty", "live", "two segments", "tombstone", "put and tombstone apart"):
        for c in (COMPACT, FULL, MERGE, RESOLVE):
            for x, y in ((S, None), (D, None), (RM, None), (SH, D), (SH, RM), (S, D), (D, SA)):
                ps = [("A", [x]), ("C", [c])] + ([("B", [y])] if y else [])
                go(
                    "B {} | {} | {}, 1 crash{}".format(
                        name(x), c[0], name(y) if y else "-", "" if y else ", 1 ambiguous"
                    ),
                    pre,
                    ps,
                    crashes=1,
                    ambs=0 if y else 1,
                    skew={"A": 2, "B": -2},
                )
    print("B", T, round(time.process_time() - t0), flush=True)
if "C" in sel:  # readers in the middle of paged lists, one or two compactors
    for pre in ("live", "two segments", "put and tombstone apart", "live in segment"):
        for cs in ((COMPACT,), (FULL,), (MERGE,), (COMPACT, FULL), (FULL, FULL), (COMPACT, MERGE), (RESOLVE, FULL)):
            for x in (None, SH, D):
                if len(cs) == 2 and x is not None and pre != "live":
                    continue
                ps = (
                    [("R", [Q, Q] if len(cs) == 1 and x is None else [Q])]
                    + [("C%d" % i, [c]) for i, c in enumerate(cs)]
                    + ([("A", [x])] if x else [])
                )
                go(
                    "C reader page 1 | {} | {}".format(" | ".join(c[0] for c in cs), name(x) if x else "-"),
                    pre,
                    ps,
                    Cfg(page=1),
                    crashes=1 if len(cs) == 1 else 0,
                )
    print("C", T, round(time.process_time() - t0), flush=True)
if "D" in sel:  # removal of tombstones: clocks, slow creates, late requests
    for pre in ("tombstone", "live", "tombstone gone", "empty"):
        for ps in (
            [("A", [S]), ("C", [GC])],
            [("A", [SA, D]), ("C", [GC])],
            [("A", [S, D, S]), ("C", [GC])],
            [("A", [D, S]), ("C", [GC])],
            [("A", [S]), ("B", [D]), ("C", [GC])],
            [("A", [SA, D]), ("B", [S]), ("C", [GC])],
            [("A", [S]), ("C", [GC]), ("E", [GC])],
            [("A", [RM]), ("B", [D, SA]), ("C", [GC])],
        ):
            for sk in ({"A": -1, "B": 1, "C": 1}, {"A": 1, "B": -1, "C": -1}):
                go(
                    "D {}".format(" | ".join("+".join(name(t) for t in p[1]) for p in ps)),
                    pre,
                    ps,
                    Cfg(),
                    skew=sk,
                    ticks=4,
                    tick=4,
                    ambs=1 if len(ps) == 2 else 0,
                    late=int(os.environ.get("LATE", 5)),
                    crashes=0,
                )
    print("D", T, round(time.process_time() - t0), flush=True)
if "E" in sel:  # purge of tombstones: slow creators, slow commits, slow compactors, warm reader
    for pre in ("empty", "live", "put and tombstone apart", "purged"):
        for ps in (
            [("A", [S]), ("B", [D]), ("C", [FULL])],
            [("A", [SH, D]), ("C", [FULL]), ("E", [COMPACT])],
            [("A", [D]), ("C", [FULL]), ("E", [FULL])],
            [("A", [D]), ("C", [FULL]), ("R", [Q, Q])],
            [("A", [D, S]), ("C", [FULL, FULL])],
            [("A", [SH]), ("B", [D]), ("C", [RESOLVE, FULL])],
        ):
            go(
                "E {}".format(" | ".join("+".join(name(t) for t in p[1]) for p in ps)),
                pre,
                ps,
                Cfg(purge_age=1),
                skew={"A": -1, "B": 1, "C": 1},
                ticks=2,
                tick=5,
                crashes=0,
                ambs=0,
            )
    print("E", T, round(time.process_time() - t0), flush=True)
if "F" in sel:  # warm reader against purges and late rows; partial merges
    M11 = ("merge", 1, 1)
    for pre in ("two segments", "put and tombstone apart", "live in segment"):
        for x in (SH, D, S):
            go(
                f"F reader page 1 | merge level 1 | {name(x)}",
                pre,
                [("R", [Q]), ("C", [M11]), ("A", [x])],
                Cfg(page=1),
                crashes=1,
            )
    LAZY = ("compact", 0, 2, True)
    for pre in ("tombstone", "purged", "two segments"):
        for ps in (
            [("A", [D]), ("C", [FULL]), ("E", [("clean",)]), ("R", [Q])],
            [("A", [S]), ("B", [D]), ("C", [FULL]), ("R", [Q, Q])],
            [("A", [SH]), ("C", [FULL]), ("E", [FULL]), ("R", [Q])],
            [("A", [S, D]), ("C", [FULL]), ("R", [Q, Q])],
        ):
            go(
                "F {}".format(" | ".join("+".join(name(t) for t in p[1]) for p in ps)),
                pre,
                ps,
                Cfg(purge_age=1),
                skew={"A": -1, "B": 1, "C": 1},
                ticks=1,
                tick=6,
                crashes=0,
                ambs=0,
            )
    print("F", T, round(time.process_time() - t0), flush=True)
