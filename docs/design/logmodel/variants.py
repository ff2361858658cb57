"""The tempting simplifications of the protocol, and how soon the simulator finds out what is wrong with them."""

import sys

from simulate import hunt

V = [
    ("seq restarts after delete (prototype)", {"tombstone": False, "stamp": "seq", "purge": None}, {}),
    ("real delete, wall/hybrid clock, skew", {"tombstone": False, "stamp": "hlc", "purge": None}, {}),
    ("tombstone, but stamp = wall clock only", {"stamp": "wall", "purge": None, "gc": None}, {}),
    ("inputs deleted before the segment is visible", {"delete_first": True}, {}),
    ("reader lists segments before entries", {"order": "desc"}, {}),
    ("output does not sort after its inputs", {"outname": "below"}, {}),
    ("tombstones just dropped in full merge", {"purge": "drop"}, {}),
    ("tombstones dropped in any merge", {"purge": "any"}, {}),
    ('a tombstone counts as "segment holds the id"', {"tombcount": "yes"}, {}),
    ("overwrite: body, then entry (no intent)", {"intent": "no"}, {}),
    ("overwrite: entry first and believed", {"intent": "trust"}, {}),
    ("create: entry first and believed", {"create": "entry-first"}, {}),
    ("create: body, then entry (no intent)", {"create": "body-first"}, {}),
    ("412 = conflict, no write id check", {"widcheck": False}, {}),
    ("no history of write ids in the body", {"hist": 0, "lateunknown": False}, {}),
    ("unconditional removal of tombstones", {"gc": "uncond"}, {}),
    ("reader lists only after its watermark", {"watermark": True}, {}),
    ("merge leaves out what is newer elsewhere", {"upjoin": "elsewhere"}, {}),
    ("compact drops intents whose body has not moved", {"compact_intents": "drop"}, {}),
    ("resolve without compare-and-set", {"resolve": "look"}, {}),
    ("reader ignores entries that are gone", {"reget": False}, {}),
    ("etag = hash of user content only (ABA)", {"rmw_etag": "content"}, {}),
    ("service ignores If-Match on bodies", {"cas": False}, {}),
    ("slow create keeps its stamp", {"restamp": False}, {}),
    ("tombstone removed on its age alone (index not asked)", {"gcsame": False}, {}),
    ("late read-back answers conflict", {"lateunknown": False}, {}),
    ("intent closed when its base moved on", {"openrule": "base"}, {}),
    ("restored: a reader takes what is gone for compacted", {"gone": "trust"}, {}),
    ("restored: a body ahead of the log is remembered", {"ahead": "believed"}, {}),
    ("restored: rows that waited are believed", {"late": "believe"}, {}),
    ("restored: a writer compacts what it wrote, without a list", {"own": "blind"}, {}),
    ("limit: skew larger than grace", {}, {"skew": 12}),
    ("limit: request lands later than grace", {}, {"late": 40, "jump": 20}),
    ("no conditional put, two writers", {"cas": "none", "gc": None}, {"sizes": (2, 1, 1), "amb": 0, "plain": 1}),
    (
        "no conditional put, one writer, sure network",
        {"cas": "none", "gc": None},
        {"sizes": (1, 2, 2), "amb": 0, "plain": 1},
    ),
    ("no conditional put, one writer, timeouts", {"cas": "none", "gc": None}, {"sizes": (1, 2, 2), "plain": 1}),
    ("OK? no commit entry", {"commit": None}, {}),
    ("OK? an entry of its own for each commit", {"commit": "now"}, {}),
    ("OK? never skip covered segments", {"skipcov": "never"}, {}),
    ("OK? coverage lists direct inputs only", {"cov": "direct"}, {}),
    ("OK? coverage lists all names", {"cov": "all"}, {}),
    ("OK? a reader begins anew for every entry not covered", {"gone": "cover"}, {}),
    ("OK? clean-up by coverage inside compact", {"leftover": True}, {}),
    (
        "OK? plain counter, tombstones kept, no purge, skew 40",
        {"stamp": "seq", "gc": None, "purge": None, "lateunknown": False, "restamp": False},
        {"skew": 40},
    ),
    (
        "OK? hybrid, tombstones kept, purge, skew 40, any delay",
        {"gc": None, "lateunknown": False, "restamp": False},
        {"skew": 40, "late": 400, "jump": 30},
    ),
]
if __name__ == "__main__":
    secs = float(sys.argv[1])
    pick = sys.argv[2:]
    for k, (name, kw, o) in enumerate(V):
        if pick and str(k) not in pick:
            continue
        r = hunt(o, 10**9, secs * (3 if name.startswith("OK") else 1), 7000000, **kw)
        print(
            "%2d %-55s %s"
            % (
                k,
                name,
                ("FOUND after %d schedules (seed %d, %.0fs): %s" % (r[0], r[1], r[3], r[2]))
                if r[1] is not None
                else "clean: %d schedules, %d requests, %.0fs" % (r[0], r[4], r[3]),
            ),
            flush=True,
        )
