"""Explore every interleaving of a small scenario, with bounded crashes, ambiguous requests and clock ticks."""

import time

from protocol import ABSENT, ANY, NOBODY, Proc, doubts, join


class Bad(Exception):
    pass


intern_c, content = {}, []


def cid(c):
    i = intern_c.get(c)
    if i is None:
        i = intern_c[c] = len(content)
        content.append(c)
    return i


class Auto:
    """one process as a lazily built automaton: node = history of answers"""

    def __init__(self, mk):
        self.mk = mk
        self.ops, self.parent, self.edge = [], [], {}
        self.gens = {}
        g = mk()
        self.new(None, None, g, None, True)

    def new(self, parent, resp, g, r, first=False):
        try:
            op = next(g) if first else g.send(r)
        except StopIteration:
            op = None
        n = len(self.ops)
        self.ops.append(op)
        self.parent.append((parent, resp))
        if op is not None:
            self.gens[n] = g
        return n

    def step(self, n, r):
        k = (n, r)
        m = self.edge.get(k)
        if m is None:
            g = self.gens.pop(n, None)
            if g is None:
                path = []
                x = n
                while self.parent[x][0] is not None:
                    path.append(self.parent[x][1])
                    x = self.parent[x][0]
                g = self.mk()
                next(g)
                for v in reversed(path):
                    g.send(v)
            m = self.edge[k] = self.new(n, r, g, r)
            if len(self.gens) > 20000:
                self.gens.clear()
        return m


class Model:
    def __init__(
        self,
        cfg,
        ids,
        procs,
        skew=None,
        prelude=(),
        t0=20,
        crashes=0,
        crashable=None,
        ambs=0,
        ticks=0,
        tick=1,
        late=10**6,
        probe=True,
        strong=True,
        kinds=("done", "lost", "twice", "late"),
        prelude_gap=1,
    ):
        cfg.strong = strong and cfg.intent == "yes" and cfg.tombstone
        self.cfg, self.ids = cfg, ids
        self.pids = [p[0] for p in procs]
        self.skew = dict.fromkeys(self.pids, 0)
        self.skew.update(skew or {})
        self.autos = [Auto(lambda p=p: iter(Proc(cfg, p[0], p[1]))) for p in procs]
        self.crashable = [p for p in self.pids if crashable is None or p in crashable]
        self.budget = (crashes, ambs, ticks)
        self.tick, self.late, self.kinds = tick, late, kinds
        self.ops = {}
        self.probed = set()
        self.probe = probe
        # mutable registers of the state being worked on
        self.B, self.X, self.chain, self.res, self.rev, self.t = {}, {}, dict.fromkeys(ids, ()), {}, {}, t0
        self.snap = {}
        for task in prelude:
            pid, ts = task
            if pid == "tick":
                self.t += ts
                continue
            self.alone(iter(Proc(cfg, pid, ts)), pid)
            self.t += prelude_gap
        self.nodes = tuple(0 for _ in procs)
        self.infl = ()
        # resolve pseudo ops at the start
        for k in range(len(procs)):
            self.pseudo(k)

    # state <-> registers
    def save(self):
        return (
            tuple(sorted(self.B.items())),
            tuple(sorted(self.X.items())),
            tuple(self.chain[i] for i in self.ids),
            tuple(sorted(self.res.items())),
            tuple(sorted(self.rev.items())),
            tuple(sorted(self.snap.items())),
            self.nodes,
            self.t,
            self.infl,
            self.budget,
        )

    def load(self, s):
        self.B, self.X = dict(s[0]), dict(s[1])
        self.chain = dict(zip(self.ids, s[2], strict=False))
        self.res, self.rev, self.snap = dict(s[3]), dict(s[4]), dict(s[5])
        self.nodes, self.t, self.infl, self.budget = s[6], s[7], s[8], s[9]

    # ghost
    def lower(self, id):
        ch = self.chain[id]
        for p in range(len(ch) - 1, -1, -1):
            if self.res.get(ch[p][0]) == "ok" or (self.cfg.strong and not ch[p][2]):
                return p
        return -1

    def valid(self, id, w, low):
        ch = self.chain[id]
        if low < 0:
            if w is None:
                return True
            low = 0
        return any((ch[p][0] if ch[p][1] == "p" else None) == w for p in range(low, len(ch)))

    def logical(self, id, new, wid, kind):
        old = self.B.get(id)
        if wid == NOBODY or old is not None and old[2] == wid:
            return
        for p in self.chain[id]:
            if p[0] == wid:
                raise Bad(f"R8 {wid} landed twice")
        op = self.ops[wid]
        live = old is not None and old[0] == "L"
        if op[2] == ABSENT and live:
            raise Bad("R8 put-if-absent overwrote")
        if op[2] == "rev" and not (live and old[2] == self.rev.get(wid)):
            raise Bad("R8 compare-and-set replaced another state")
        late = new is None or self.t - new[1] > self.cfg.elapsed  # it will get a new stamp
        self.chain[id] = self.chain[id] + ((wid, kind, not live and late),)
        if self.res.get(wid) in ("conflict", "absent"):
            raise Bad(f"R8 {wid} had answered {self.res[wid]} but lands")

    def cond(self, key, c):
        o = self.B.get(key[1]) if key[0] == "b" else self.X.get(key[1])
        if c == ANY:
            return True
        if c == ABSENT:
            return o is None
        if o is None:
            return False
        if self.cfg.rmw_etag == "content" and o[0] == "L":
            return c[1] == (o[2][1] & 1)
        return o[:3] == c[1]

    def mutate(self, rq):
        key = rq[1]
        if rq[0] == "put":
            if not self.cond(key, rq[3]):
                return "no"
            if key[0] == "b":
                self.logical(key[1], rq[2], rq[2][2], "p" if rq[2][0] == "L" else "d")
                self.B[key[1]] = rq[2]
            else:
                self.X[key[1]] = cid(rq[2])
        else:
            if not self.cond(key, rq[2]):
                return "no"
            if key[0] == "b":
                o = self.B.get(key[1])
                if len(rq) > 3:
                    if o is None:
                        return "no"
                    self.logical(key[1], None, rq[3], "d")
                elif o is not None and o[0] == "L":
                    raise Bad("R1 tombstone collection removed a live record")
                self.B.pop(key[1], None)
            else:
                self.X.pop(key[1], None)
        return "ok"

    def perform(self, pid, rq):
        if rq[0] == "get":
            if rq[1][0] == "b":
                return self.B.get(rq[1][1])
            c = self.X.get(rq[1][1])
            return None if c is None else content[c]
        if rq[0] == "list":
            if rq[3]:
                self.snap[pid] = tuple(self.lower(i) for i in self.ids)
            names = sorted(n for n in self.X if rq[1] is None or n > rq[1])
            return tuple(names[: rq[2]]), len(names) > rq[2]
        return self.mutate(rq)

    def note(self, pid, n):
        if n[1] == "op":
            self.ops[n[2]] = (n[3], n[4], n[5])
        elif n[1] == "rev":
            self.rev[n[2]] = n[3]
        elif n[1] == "res":
            self.res[n[2]] = n[3]
            landed = any(p[0] == n[2] for p in self.chain[self.ops[n[2]][0]])
            if n[3] == "ok" and not landed:
                raise Bad(f"R8 {n[2]} ok but did not land")
            if n[3] in ("conflict", "absent") and landed:
                raise Bad(f"R8 {n[2]} answered {n[3]} but landed")
        elif n[1] == "ans":
            a = dict(n[2])
            s = self.snap.pop(pid)
            for i, low in zip(self.ids, s, strict=False):
                if not self.valid(i, a.get(i), low):
                    raise Bad(
                        "query of %s: %s = %s, not at or after position %d of %s"
                        % (pid, i, a.get(i), low, self.chain[i])
                    )

    def pseudo(self, k):
        a, pid = self.autos[k], self.pids[k]
        n = self.nodes[k]
        while True:
            op = a.ops[n]
            if op is None:
                n = -1
                break
            if op[0] == "now":
                n = a.step(n, self.t + self.skew[pid])
            elif op[0] == "note":
                self.note(pid, op)
                n = a.step(n, None)
            else:
                break
        self.nodes = self.nodes[:k] + (n,) + self.nodes[k + 1 :]

    def advance(self, k, r):
        self.nodes = self.nodes[:k] + (self.autos[k].step(self.nodes[k], r),) + self.nodes[k + 1 :]
        self.pseudo(k)

    def alone(self, g, pid):
        r = None
        try:
            while True:
                rq = g.send(r)
                if rq[0] == "now":
                    r = self.t + self.skew.get(pid, 0)
                elif rq[0] == "note":
                    r = self.note(pid, rq)
                else:
                    r = self.perform(pid, rq)
        except StopIteration:
            pass

    # atomic cold reader
    def cold(self, what):
        src = [(n,) + content[c] for n, c in self.X.items()]
        conf, pend, fl, late = join(self.cfg, src)
        pend = doubts(pend, late)
        for i in self.ids:
            c = conf.get(i)
            w = c[1] if c and c[2] == "p" else None
            if i in pend:
                b = self.B.get(i)
                if b is None:
                    w = None
                elif c is None or b[1] > c[0]:
                    w = b[2] if b[0] == "L" else None
            low = self.lower(i)
            if not self.valid(i, w, low):
                raise Bad(
                    "%s: cold query %s = %s, not at or after position %d of %s" % (what, i, w, low, self.chain[i])
                )

    def check(self):
        k = hash(
            (
                tuple(sorted(self.B.items())),
                tuple(sorted(self.X.items())),
                tuple(self.chain[i] for i in self.ids),
                tuple(sorted(self.res.items())),
            )
        )
        if k in self.probed:
            return
        self.probed.add(k)
        self.cold("now")

    def terminal(self):
        cfg = self.cfg
        keep = cfg.strong
        cfg.strong = True
        s = self.save()
        try:
            self.cold("quiet")
            for j in range(2):
                for task in (("resolve",), ("compact", 0, 9), ("full",), ("gc",), ("full",)):
                    self.alone(iter(Proc(cfg, "M%d%s" % (j, task[0]), [task])), "M")
                    self.cold("quiet, after " + task[0])
                self.t += cfg.grace + 3
        finally:
            cfg.strong = keep
            self.load(s)

    def succ(self):
        """yields (label, thunk)"""
        out = []
        cr, am, ti = self.budget
        for k, n in enumerate(self.nodes):
            if n < 0:
                continue
            op = self.autos[k].ops[n]
            out.append((k, "run", op))
            if am and op[0] in ("put", "del"):
                for kd in self.kinds:
                    if kd == "twice" and (op[0] != "put" or op[3] == ANY):
                        continue
                    if op[0] == "del" and kd != "late":
                        continue
                    out.append((k, kd, op))
            if cr and self.pids[k] in self.crashable:
                out.append((k, "crash", op))
        for j in range(len(self.infl)):
            out.append((j, "land", self.infl[j][1]))
        if ti and any(n >= 0 for n in self.nodes):
            out.append((0, "tick", None))
        return out

    def apply(self, a):
        k, kind, op = a
        cr, am, ti = self.budget
        if kind == "run":
            self.advance(k, self.perform(self.pids[k], op))
        elif kind == "crash":
            self.nodes = self.nodes[:k] + (-1,) + self.nodes[k + 1 :]
            self.budget = (cr - 1, am, ti)
            self.snap.pop(self.pids[k], None)
        elif kind == "tick":
            self.t += self.tick
            self.budget = (cr, am, ti - 1)
            self.infl = tuple(x for x in self.infl if x[0] >= self.t)
        elif kind == "land":
            x = self.infl[k]
            self.infl = self.infl[:k] + self.infl[k + 1 :]
            self.mutate(x[1])
        else:
            self.budget = (cr, am - 1, ti)
            if kind == "done":
                self.mutate(op)
                r = "timeout"
            elif kind == "lost":
                r = "timeout"
            elif kind == "twice":
                self.mutate(op)
                r = self.mutate(op)
            else:
                self.infl = tuple(sorted(self.infl + ((self.t + self.late, op),), key=repr))
                r = "timeout"
            self.advance(k, r)


def explore(m, limit=10**9, secs=10**9, stop=True):
    t0 = time.time()
    s0 = m.save()
    seen = {hash(s0)}
    stack = [(s0, None)]
    trans = 0
    terms = 0
    parents = {hash(s0): None}
    while stack:
        s, _ = stack.pop()
        m.load(s)
        acts = m.succ()
        if not any(n >= 0 for n in s[6]):
            terms += 1
            try:
                m.terminal()
            except Bad as e:
                return {
                    "bad": str(e),
                    "states": len(seen),
                    "trans": trans,
                    "terms": terms,
                    "secs": time.time() - t0,
                    "path": path(m, parents, s, s0),
                }
        hs = hash(s)
        for a in acts:
            m.load(s)
            try:
                m.apply(a)
                if m.probe:
                    m.check()
            except Bad as e:
                return {
                    "bad": str(e),
                    "states": len(seen),
                    "trans": trans,
                    "terms": terms,
                    "secs": time.time() - t0,
                    "path": path(m, parents, s, s0) + [(s[7], a)],
                }
            trans += 1
            n = m.save()
            h = hash(n)
            if h in seen:
                continue
            seen.add(h)
            if m.track:
                parents[h] = (hs, (s[7], a))
            stack.append((n, None))
        if len(seen) > limit or trans & 1023 == 0 and time.time() - t0 > secs:
            return {
                "bad": None,
                "states": len(seen),
                "trans": trans,
                "terms": terms,
                "secs": time.time() - t0,
                "complete": False,
            }
    return {
        "bad": None,
        "states": len(seen),
        "trans": trans,
        "terms": terms,
        "secs": time.time() - t0,
        "complete": True,
    }


Model.track = False


def path(m, parents, s, s0):
    out = []
    h = hash(s)
    while parents.get(h):
        h, a = parents[h]
        out.append(a)
    return out[::-1]


def show(m, p):
    for t, (k, kind, op) in p:
        who = m.pids[k] if kind not in ("land", "tick") else "net" if kind == "land" else "-"
        print(
            "   t=%d %-3s %-5s %s" % (t, who, kind if kind != "run" else "", " ".join(str(x) for x in op) if op else "")
        )
