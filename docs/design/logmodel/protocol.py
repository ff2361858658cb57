"""The protocol of the log, and its tempting wrong variants, as generators that yield storage requests.

Requests:
    ("get", key)                      -> content or None
    ("put", key, content, condition)  -> "ok", "no" or "timeout"
    ("del", key, condition)           -> "ok", "no" or "timeout"
    ("list", after, limit, first)     -> (names, more)
    ("now",)                          -> clock of this process
    ("note", ...)                     -> None; for the checker only, costs no step

Key: ("b", id) is a body object, ("x", name) an index object; a name is (level, a, b, c), ordered.
Condition: ANY, ABSENT or ("etag", e).
Body: (state, stamp, write id, history), state "L" for a live document or "M" for a tombstone.
Index object: (rows, coverage, floor). Rows are
    ("c", id, stamp, write id, kind)        confirmed: the body of id was (stamp, write id, kind) at some time
    ("i", id, base, stamp, write id, kind)  intent: a writer may be replacing the body that has the stamp `base`
    ("l", id, stamp, write id, kind)        late: as confirmed, but written later than the intent that announced it, so
                                            that it counts only where that intent, or a confirmed row, is known, too
    with kind "p" for put and "d" for delete, and base 0 for no body, -1 for any.
Coverage: the names that a segment replaces. Floor: a put with a stamp at or below it that the object does not hold may
have been deleted and purged, so that readers must look at the body.
"""

import zlib

ANY, ABSENT = "any", "absent"
NOW = ("now",)
NOBODY = ("", 0)  # write id of a tombstone that changes nothing


class Cfg:
    # correct values first
    tombstone = True  # delete leaves a tombstone at the body key
    stamp = "hlc"  # hlc: max(prev+1, now) | seq: prev+1 | wall: now
    intent = "yes"  # yes | no (body, then entry) | trust (entry first, believed at once)
    create = "intent"  # | 'body-first' (body, then entry) | 'entry-first' (trusted entry before the body)
    widcheck = True  # 412 -> read back, is it mine?
    hist = 16  # write ids of predecessors kept in the body
    order = "asc"  # reader lists ascending: entries, then segments | 'desc' segments before entries
    delete_first = False  # compactor deletes inputs before the segment is visible
    purge = "floor"  # floor: purged tombstones leave a floor | 'drop': just dropped | 'any': dropped at any merge
    purge_age = 2  # tombstones older than this are purged in a full merge
    gc = "cond"  # cond | 'uncond' | None : removal of tombstones
    grace = 8  # G: tombstones younger than this stay
    elapsed = 3  # a create that took longer gets a new stamp
    outname = "above"  # output sorts after its inputs | 'below'
    upjoin = "self"  # 'elsewhere': merge leaves out rows known to be superseded elsewhere
    compact_intents = "carry"  # carry | 'drop' intents whose body has not moved
    resolve = "fence"  # fence | 'look' (no CAS: just believes the body as it is now)
    watermark = False  # reader lists only names after the largest it has seen
    reget = True  # reader that finds an object gone lists again
    skipcov = "applied"  # skip a segment if all it covers was applied | 'never' | 'count' (wrong)
    rmw_etag = "unique"  # 'content': etag is hash of the user's content only (ABA)
    cas = True  # False: the service ignores conditional puts on bodies
    cascond = "base"  # unused knob
    commit = "later"  # the confirmed row goes into the writer's next entry | 'now': an entry of its own | None
    max_tries = 5
    page = 1000
    leftover = False  # a compactor also deletes listed objects that another's segment covers
    stale_skip = False
    strong = True
    restamp = True
    cov = "segments"  # what a segment lists as covered: direct inputs + all segments below | 'all' | 'direct'
    compact_deletes = True  # False: inputs are left to clean()
    lateunknown = True
    gcsame = True
    openrule = "stamp"  # | 'base'
    gone = "explain"  # objects that are gone: explain | 'trust' (somebody compacted) | 'cover' (begin anew more often)
    ahead = "shown"  # a body that no known entry announces: shown | 'believed' (wrong: it may be wound back)
    late = "announced"  # rows that waited for the next entry: announced | 'believe' (wrong: it may be another place now)
    own = "listed"  # a writer compacts of its own entries: listed | 'blind' (wrong: those that it wrote)
    tombcount = "no"  # 'yes' (wrong): a tombstone counts as 'this segment holds the id'

    def __init__(self, **k):
        for a, v in k.items():
            assert hasattr(Cfg, a), a
            setattr(self, a, v)


def tag(x):
    return zlib.crc32(repr(x).encode()) & 0xFFFFFF


# ------------------------------------------------------------------ the lattice
def open_(cfg, p, c):
    """is intent p (base, stamp, wid, kind) still open beside the confirmed row c?"""
    if cfg.openrule == "stamp":
        return p[1] > c[0]
    return p[0] >= c[0]  # wrong: 'base moved on' (misses a body that was created late)


def join(cfg, sources):
    """Join sources [(name, rows, coverage, floor)].

    Return ({id: (stamp, write id, kind)}, {id: set((base, stamp, write id, kind))}, floor, set(late rows)).
    """
    covered = set()
    for s in sources:
        covered |= s[2]
    use = [s for s in sources if s[0] not in covered]
    floor = 0
    per = []
    said = set()
    for _name, rows, cov, fl in use:
        if fl > floor:
            floor = fl
        c = {}
        for r in rows:
            if r[0] == "c":
                said.add((r[1], r[2], r[3]))
                o = c.get(r[1])
                if o is None or (r[2], r[3]) > (o[0], o[1]):
                    c[r[1]] = (r[2], r[3], r[4])
            elif r[0] == "i" and r[2] < r[3]:  # not a doubt, which such a row has left
                said.add((r[1], r[3], r[4]))
        per.append(c)
    conf, pend, late = {}, {}, set()
    for k, (_name, rows, cov, fl) in enumerate(use):
        for r in rows:
            id = r[1]
            if r[0] == "i":
                pend.setdefault(id, set()).add(r[2:])
                continue
            if r[0] == "l" and r[1:4] not in said and cfg.late == "announced":
                late.add(r)
                continue
            if r[4] == "p" and floor >= r[2] and cfg.purge == "floor":
                doubt = False
                for j, x in enumerate(use):
                    h = per[j].get(id)
                    if (
                        j != k
                        and x[3] >= r[2]
                        and (h is None or h[2] == "d" and cfg.tombcount == "no")
                        and x[0] not in cov
                    ):
                        doubt = True
                        break
                if doubt:
                    pend.setdefault(id, set()).add((r[2] - 1, r[2], r[3], "p"))
                    continue
            o = conf.get(id)
            if o is None or (r[2], r[3]) > (o[0], o[1]):
                conf[id] = (r[2], r[3], r[4])
    for id in list(pend):
        c = conf.get(id)
        if c is not None:
            left = {p for p in pend[id] if open_(cfg, p, c)}
            if left:
                pend[id] = left
            else:
                del pend[id]
    late = {r for r in late if r[1] not in conf or (r[2], r[3]) > conf[r[1]][:2]}
    return conf, pend, floor, late


def doubts(pend, late):
    """Open intents, and late rows that nothing announced: whoever needs to know looks at the body."""
    out = {id: set(ps) for id, ps in pend.items()}
    for r in late:
        out.setdefault(r[1], set()).add((r[2], r[2], r[3], r[4]))  # to be resolved by a larger stamp
    return out


def explains(rows, got):
    """Is everything that an object which is gone had said also said, or outdone, by objects that were just read?"""
    most, same = {}, set()
    for g in got:
        for r in g[1]:
            if r[0] == "c":
                most[r[1]] = max(most.get(r[1], (0,)), (r[2], r[3]))
            else:
                same.add(r)
    return all(r in same or most.get(r[1], (0,)) >= (r[-3], r[-2]) for r in rows)


def rows_of(conf, pend, late=()):
    out = [("c", id) + c for id, c in conf.items()]
    for id, ps in pend.items():
        out += [("i", id) + p for p in ps]
    return tuple(sorted([*out, *late]))


# ------------------------------------------------------------------ processes
class Proc:
    def __init__(self, cfg, pid, script):
        self.cfg, self.pid, self.script = cfg, pid, script
        self.n = 0
        self.later = []  # confirmed rows for the next entry
        # reader's replica
        self.begin()
        self.own = []  # entries that it wrote

    def begin(self):
        """Begin with an empty replica; `applied` has the rows of entries that are listed, None for segments, () if covered."""
        self.conf, self.pend, self.floor, self.applied, self.mark = {}, {}, 0, {}, None

    def __iter__(self):
        return self.main()

    def main(self):
        for task in self.script:
            yield from getattr(self, "t_" + task[0])(*task[1:])

    # ---- small helpers
    def name(self, t):
        self.n += 1
        return (0, t, self.pid, self.n)

    def put_entry(self, rows, tries=3):
        t = yield NOW
        nm = self.name(t)
        rows, self.later = list(rows) + [("l",) + r[1:] for r in self.later], []
        content = (tuple(sorted(rows)), frozenset(), 0)
        for _ in range(tries):
            r = yield ("put", ("x", nm), content, ABSENT)
            if r != "timeout":
                self.own.append((nm,) + content)
                self.apply([(nm, *content, False)])
                return True  # 'no': the name is mine alone, so it is there
        return False

    def confirm(self, row):
        if self.cfg.create != "intent" and row[4] == "p":
            return (yield from self.put_entry([row]))
        self.apply([("", (row,), frozenset(), 0, False)])
        if self.cfg.commit == "now":
            yield from self.put_entry([row], 1)
        elif self.cfg.commit == "later":
            self.later.append(row)
        return True

    def list_all(self, q=False, after=None):
        out = []
        first = q
        while True:
            names, more = yield ("list", after, self.cfg.page, first)
            first = False
            out += names
            if not more:
                return out
            after = names[-1]

    # ---- writers
    def t_save(self, id, expect=ANY, hint=False):
        return self.write(id, "p", expect, hint)

    def t_del(self, id, expect=ANY):
        return self.write(id, "d", expect, True)

    def t_rmw(self, id, kind="p"):
        return self.write(id, kind, "rev", True)

    def etag(self, body):
        if self.cfg.rmw_etag == "content" and body[0] == "L":
            return ("etag", body[2][1] & 1)
        return ("etag", body[:3])

    def mint(self, prev, now):
        s = self.cfg.stamp
        if s == "hlc":
            return max(prev + 1, now)
        if s == "seq":
            return prev + 1
        return now

    def write(self, id, kind, expect, hint):
        cfg = self.cfg
        self.n += 1
        wid = (self.pid, self.n)
        yield ("note", "op", wid, id, kind, expect)
        rev = None
        maybe = False
        optimistic = kind == "p" and expect in (ANY, ABSENT) and not hint
        tries = 0
        sent_t = 0
        first, tried, landed_as = True, None, None
        said = None  # stamp of an intent to replace whatever body there is
        while True:
            tries += 1
            if tries > cfg.max_tries:
                yield ("note", "res", wid, "unknown")
                return
            if optimistic:
                cur = None
            else:
                cur = yield ("get", ("b", id))
                if expect == "rev" and rev is None:
                    if cur is None or cur[0] != "L":
                        yield ("note", "res", wid, "absent")
                        return
                    rev = cur[2]
                    yield ("note", "rev", wid, rev)
                if (maybe or cfg.widcheck) and cur is not None and cfg.widcheck:
                    if cur[2] == wid:  # mine, landed
                        if landed_as == "create":
                            t = yield NOW
                            if (
                                not cur[3] and t - cur[1] > cfg.elapsed and cfg.restamp
                            ):  # created from nothing, and slow: give it a new stamp
                                st = max(cur[1] + 1, t)
                                yield ("note", "stat", "create got a new stamp")
                                if cfg.create == "intent" and not (
                                    yield from self.put_entry([("i", id, cur[1], st, wid, kind)])
                                ):
                                    continue
                                r = yield ("put", ("b", id), ("L", st, wid, cur[3]), self.etag(cur))
                                if r != "ok":
                                    maybe = True
                                    continue
                                cur = ("L", st, wid, cur[3])
                        ok = yield from self.confirm(("c", id, cur[1], wid, kind))
                        yield ("note", "res", wid, "ok" if ok else "unknown")
                        return
                    if wid in cur[3]:  # mine, landed, superseded since
                        yield ("note", "stat", "found in history")
                        yield ("note", "res", wid, "ok")
                        return
            if maybe and cfg.widcheck and not first:
                # not mine as far as one can see. Certain if the body still descends from what I tried to replace; else only if it is soon after
                sure = tried is not None and cur is not None and (cur[2] == tried or tried in cur[3])
                if not sure and (cfg.hist and cur is not None and len(cur[3]) >= cfg.hist):
                    yield ("note", "res", wid, "unknown")
                    return
                if not sure and cfg.lateunknown:
                    t = yield NOW
                    if t - sent_t > cfg.elapsed:
                        yield ("note", "stat", "late read-back: unknown")
                        yield ("note", "res", wid, "unknown")
                        return
            first = False
            optimistic = False
            live = cur is not None and cur[0] == "L"
            if kind == "d" and not live:
                yield ("note", "res", wid, "absent")
                return
            if expect == ABSENT and live or expect == "rev" and (not live or cur[2] != rev):
                yield ("note", "res", wid, "conflict")
                return
            now = yield NOW
            stamp = self.mint(cur[1] if cur else 0, now)
            hist = ((cur[2],) + cur[3])[: cfg.hist] if cur else ()
            new = ("L" if kind == "p" else "M", stamp, wid, hist)
            row = ("c", id, stamp, wid, kind)
            landed_as = "overwrite" if live else "create"
            if said is not None and cur is not None and said > cur[1] and now - said <= cfg.elapsed:
                stamp = said  # that intent stands for this attempt, too
                new, row = (new[0], stamp) + new[2:], ("c", id, stamp, wid, kind)
            elif cfg.intent != "no" and (live or cfg.create == "intent"):
                base = cur[1] if cur else -1 if expect == ANY else 0
                if cfg.intent == "trust":
                    ok = yield from self.put_entry([row])
                else:
                    ok = yield from self.put_entry([("i", id, base, stamp, wid, kind)])
                if not ok:
                    continue
                if base < 0:
                    said = stamp
            if not live and cfg.create == "entry-first":
                ok = yield from self.put_entry([row])
                if not ok:
                    continue
            sent_t = now
            tried = cur[2] if cur else None
            cond = self.etag(cur) if cur else ABSENT
            if not cfg.cas and cond != ABSENT or cfg.cas == "none":
                cond = ANY
            if kind == "d" and not cfg.tombstone:
                r = yield ("del", ("b", id), cond, wid)
            else:
                r = yield ("put", ("b", id), new, cond)
            if r == "ok":
                t = yield NOW
                if cur is None and t - stamp > cfg.elapsed and cfg.restamp and cfg.widcheck:
                    maybe = True
                    continue
                ok = yield from self.confirm(row)
                yield ("note", "res", wid, "ok" if ok else "unknown")
                return
            if r == "no" and not cfg.widcheck:
                if expect != ANY:
                    yield ("note", "res", wid, "conflict")
                    return
                maybe = False
                continue
            maybe = True

    # ---- reader
    def t_q(self):
        yield from self.refresh(True)
        ans = {id: c[1] for id, c in self.conf.items() if c[2] == "p"}
        for id in sorted(self.pend):
            c = self.conf.get(id)
            if c and not any(open_(self.cfg, p, c) for p in self.pend[id]):
                continue
            b = yield ("get", ("b", id))
            yield ("note", "stat", "query asked the body")
            if b is None:
                ans.pop(id, None)
                continue
            if self.cfg.ahead == "shown" and not (c and c[1] == b[2] or any(p[2] == b[2] for p in self.pend[id])):
                # Nothing that was read announces it: shown, but not remembered, for it may go as it came.
                yield ("note", "stat", "body ahead of the log")
                ans.pop(id, None)
                if b[0] == "L":
                    ans[id] = b[2]
                continue
            if c is None or b[1] > c[0]:
                self.conf[id] = (b[1], b[2], "p" if b[0] == "L" else "d")
            c = self.conf[id]
            if c[2] == "p":
                ans[id] = c[1]
            else:
                ans.pop(id, None)
            left = {
                p for p in self.pend[id] if p[0] in (b[1], -1) and open_(self.cfg, p, c)
            }  # base is gone: it landed long ago, or never will
            if left:
                self.pend[id] = left
            else:
                del self.pend[id]
        yield ("note", "ans", tuple(sorted(ans.items())))

    def refresh(self, q):
        cfg = self.cfg
        while True:
            after = self.mark if cfg.watermark else None
            if cfg.order == "desc":  # wrong: segments first, entries after
                segs = yield from self.list_all(q, (1,))
                ents = []
                a = None
                while True:
                    p, more = yield ("list", a, cfg.page, False)
                    ents += [n for n in p if n[0] == 0]
                    if not more or any(n[0] for n in p):
                        break
                    a = p[-1]
                names = ents + segs
            elif cfg.watermark:  # wrong: only names after the last one seen (segments always)
                names = yield from self.list_all(q, after)
                ents = [n for n in names if n[0] == 0]
                if ents:
                    self.mark = ents[-1]
            else:
                names = yield from self.list_all(q)
            q = False
            todo = [n for n in names if n not in self.applied]
            got, lost, covered = [], False, set()
            for n in reversed(todo):
                if n in covered:
                    continue
                c = yield ("get", ("x", n))
                if c is None:
                    lost = True
                    continue
                rows, cov, fl = c
                covered |= cov
                skip = n[0] > 0 and cfg.skipcov == "applied" and cov <= set(self.applied)  # nothing new in it
                got.append((n, rows, cov, fl, skip))
                if skip:
                    yield ("note", "stat", "segment skipped, covered")
            self.apply(got)
            if cfg.watermark and len(self.applied) and not self.mark:
                self.mark = None
            strange = []
            for n in [n for n in self.applied if n not in names]:
                rows = self.applied[n]
                if rows != () and cfg.gone != "trust":
                    if rows is None or cfg.gone == "cover" or not explains(rows, got):
                        strange.append(n)
                        continue
                    yield ("note", "stat", "entry folded twice meanwhile")
                del self.applied[n]
            if lost and cfg.reget:
                yield ("note", "stat", "entry gone, listed again")
                continue
            for n in strange:
                if (yield ("get", ("x", n))) is None:  # otherwise it has come again
                    yield ("note", "stat", "began anew")
                    self.begin()
                    break
            else:
                return

    def apply(self, got):
        me = ("REP", rows_of(self.conf, self.pend), frozenset(self.applied), self.floor)
        src = [me] + [(n, r, c, f) for n, r, c, f, skip in got if not skip]
        self.conf, pend, fl, late = join(self.cfg, src)
        self.pend = doubts(pend, late)
        self.floor = max([self.floor, fl] + [g[3] for g in got])
        for n, rows, _cov, _fl, _skip in got:
            if n != "":
                self.applied[n] = None if n[0] else rows
        for g in got:
            for n in g[2]:
                self.applied[n] = ()

    # ---- maintain
    def load(self, names):
        got = []
        for n in names:
            c = yield ("get", ("x", n))
            if c is not None:
                got.append((n, c[0], c[1], c[2]))
        return got

    def t_compact(self, lo=0, hi=0, full=False):
        cfg = self.cfg
        names = yield from self.list_all()
        pick = names if full else [n for n in names if lo <= n[0] <= hi]
        if not pick or (not full and lo > 0 and len(pick) < 2):
            return
        src = yield from self.load(pick)
        if not src:
            return
        conf, pend, floor, late = join(cfg, src)
        if cfg.purge == "any" or full and cfg.purge in ("floor", "drop"):
            t = yield NOW
            F = t - cfg.purge_age
            dead = [id for id, c in conf.items() if c[2] == "d" and c[0] <= F and id not in pend]
            for id in dead:
                del conf[id]
                yield ("note", "stat", "tombstone purged")
            if cfg.purge == "floor":
                floor = max(floor, F)
        yield from self.fold(names, pick, src, conf, pend, floor, late, full)

    def t_own(self):
        "compact the entries of this process, without reading them"
        yield from self.put_entry([], 1)
        names = yield from self.list_all()
        src, self.own = self.own, []
        if self.cfg.own == "listed":  # what is not there any more others have compacted, or it is another place now
            src = [e for e in src if e[0] in names]
        if src:
            yield from self.fold(names, [e[0] for e in src], src, *join(self.cfg, src), False)

    def fold(self, names, pick, src, conf, pend, floor, late, full):
        cfg = self.cfg
        got = [s[0] for s in src]
        if cfg.upjoin == "elsewhere" and not full:
            rest = yield from self.load([n for n in names if n not in pick])
            oc, _, _, _ = join(cfg, rest)
            for id, c in oc.items():
                if id in conf and c[0] > conf[id][0]:
                    del conf[id]
        if cfg.compact_intents == "drop":
            pend = {}
        cov = set(got)
        if cfg.cov != "direct":
            for s in src:
                cov |= {x for x in s[2] if x[0] or cfg.cov == "all"}
        rows = rows_of(conf, pend, late)
        content = (rows, frozenset(cov), floor)
        lvl = min(max(n[0] for n in got) + 1, 3)
        gen = max([n[1] for n in got if n[0] == lvl] + [0]) + 1
        if cfg.outname == "below":
            gen, lvl = -gen - tag(content), max(1, min([n[0] for n in got if n[0]] + [1]))
        nm = (lvl, gen, tag((rows, sorted(cov), floor)), 0)
        if nm in got:
            return
        if cfg.delete_first:
            for n in got:
                yield ("del", ("x", n), ANY)
        for _ in range(2):
            r = yield ("put", ("x", nm), content, ABSENT)
            if r != "timeout":
                break
        else:
            return
        if not cfg.delete_first and cfg.compact_deletes:
            for n in got:
                yield ("del", ("x", n), ANY)
        if cfg.leftover:
            for n in names:
                if n in cov and n not in got:
                    yield ("del", ("x", n), ANY)

    def t_clean(self):
        "finish what a crashed (or a deliberately lazy) compactor left: whatever a segment covers may go"
        names = yield from self.list_all()
        src = yield from self.load([n for n in names if n[0] > 0])
        cov = set()
        for s in src:
            cov |= s[2]
        for n in names:
            if n in cov:
                yield ("del", ("x", n), ANY)

    def t_full(self):
        return self.t_compact(0, 9, True)

    def t_merge(self, lo=1, hi=2):
        return self.t_compact(lo, hi)

    def t_resolve(self):
        cfg = self.cfg
        if cfg.cas == "none":
            return
        names = yield from self.list_all()
        src = yield from self.load(names)
        conf, pend, floor, late = join(cfg, src)
        pend = doubts(pend, late)
        rows = []
        for id in sorted(pend):
            b = yield ("get", ("b", id))
            c = conf.get(id)
            need = max(max(p[0] + 1, p[1]) for p in pend[id])
            if b is None:  # a tombstone, so that a late writer's condition fails
                t = yield NOW
                st = max(need, t)
                if (yield ("put", ("b", id), ("M", st, NOBODY, ()), ABSENT)) == "ok":
                    rows.append(("c", id, st, NOBODY, "d"))
                continue
            kind = "p" if b[0] == "L" else "d"
            if b[0] == "L":
                need = max(need, floor + 1, c[0] if c else 0)
            if b[1] >= need:
                rows.append(("c", id, b[1], b[2], kind))
                continue
            if cfg.resolve == "look":
                rows.append(("c", id, need, b[2], kind))
                continue
            t = yield NOW
            nb = (b[0], max(b[1] + 1, need, t), b[2], b[3])
            r = yield ("put", ("b", id), nb, self.etag(b))
            if r == "ok":
                rows.append(("c", id, nb[1], b[2], kind))
                yield ("note", "stat", "fence")
        if rows:
            yield from self.put_entry(rows)

    def t_gc(self):
        cfg = self.cfg
        if not cfg.gc or not cfg.tombstone:
            return
        names = yield from self.list_all()
        src = yield from self.load(names)
        conf, pend, floor, late = join(cfg, src)
        pend = doubts(pend, late)
        for id in sorted(conf):
            c = conf[id]
            if c[2] != "d" or id in pend:
                continue
            t = yield NOW
            if c[0] + cfg.grace >= t:
                continue
            b = yield ("get", ("b", id))
            if b is None or b[0] != "M":
                continue
            t = yield NOW
            if b[1] + cfg.grace >= t or cfg.gcsame and b[1] != c[0]:
                continue  # only what the index already confirms
            r = yield ("del", ("b", id), self.etag(b) if cfg.gc == "cond" else ANY)
            yield ("note", "stat", "tombstone removed" if r == "ok" else "tombstone kept: " + r)

    def t_get(self, id):
        b = yield ("get", ("b", id))
        yield ("note", "got", id, b[2] if b and b[0] == "L" else None)
