"""Simulate seeded schedules: crashes, pauses, late, lost and doubled requests, clocks that differ."""

import random
import sys
import time

from protocol import ABSENT, ANY, NOBODY, Cfg, Proc


class Violation(Exception):
    pass


STAT = {}


class World:
    def __init__(self, cfg, ids, skew):
        self.cfg, self.ids, self.skew = cfg, ids, skew
        self.bodies, self.index = {}, {}
        self.t = 20
        self.chain = {i: [] for i in ids}
        self.ops, self.res, self.landed = {}, {}, {}
        self.rev = {}
        self.inflight = []
        self.writing = {}  # the write that a process is busy with
        self.snap = {}
        self.trace = None
        self.nreq = 0

    # ---- ghost
    def lower(self, id):
        ch = self.chain[id]
        strong = self.cfg.strong
        for p in range(len(ch) - 1, -1, -1):
            wid, kind, create = ch[p]
            if self.res.get(wid) == "ok" or (strong and not create):
                return p
        return -1

    def valid(self, id, w, low):
        ch = self.chain[id]
        if low < 0:
            if w is None:
                return True
            low = 0
        for p in range(low, len(ch)):
            if (ch[p][0] if ch[p][1] == "p" else None) == w:
                return True
        return False

    def body_set(self, id, new, wid, kind):
        old = self.bodies.get(id)
        if old is not None and wid is not None and old[2] == wid:
            return  # fence or re-stamp: same logical state
        if wid is None or wid == NOBODY:
            return
        if wid in self.landed:
            raise Violation(f"R8 write {wid} landed twice")
        self.landed[wid] = 1
        op = self.ops[wid]
        live = old is not None and old[0] == "L"
        if op[2] == ABSENT and live:
            raise Violation(f"R8 put-if-absent overwrote {old}")
        if op[2] == "rev" and not (live and old[2] == self.rev[wid]):
            raise Violation(f"R8 compare-and-set of {wid} replaced {old}")
        late = new is None or self.t - new[1] > self.cfg.elapsed  # it will get a new stamp
        self.chain[id].append((wid, kind, not live and late))

    # ---- backups
    def copy(self):
        return dict(self.bodies), dict(self.index), {i: list(c) for i, c in self.chain.items()}, dict(self.res)

    def is_quiet(self):
        """Is nobody writing? A backup from the midst of a write is no state of the store."""
        return not self.writing and all(rq[1][0] != "b" for _, rq in self.inflight)

    def restore(self, copy):
        self.bodies, self.index, self.chain, self.res = copy
        self.landed = {step[0]: 1 for chain in self.chain.values() for step in chain}
        self.inflight = []

    # ---- storage
    def cond(self, key, c):
        o = self.bodies.get(key[1]) if key[0] == "b" else self.index.get(key[1])
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
        k, key = rq[0], rq[1]
        if k == "put":
            if not self.cond(key, rq[3]):
                return "no"
            if key[0] == "b":
                self.body_set(key[1], rq[2], rq[2][2], "p" if rq[2][0] == "L" else "d")
                self.bodies[key[1]] = rq[2]
            else:
                self.index[key[1]] = rq[2]
        else:
            if not self.cond(key, rq[2]):
                return "no"
            if key[0] == "b":
                o = self.bodies.get(key[1])
                if len(rq) > 3:
                    if o is None:
                        return "no"
                    self.body_set(key[1], None, rq[3], "d")
                elif o is not None and o[0] == "L":
                    raise Violation(f"R1 tombstone collection removed the live record {o}")
                self.bodies.pop(key[1], None)
            else:
                self.index.pop(key[1], None)
        return "ok"

    def do(self, pid, rq, rnd=None, amb=0.0, late=0):
        self.nreq += 1
        k = rq[0]
        if k == "get":
            return (self.bodies if rq[1][0] == "b" else self.index).get(rq[1][1])
        if k == "list":
            if rq[3]:
                self.snap[pid] = {i: self.lower(i) for i in self.ids}
            names = sorted(n for n in self.index if rq[1] is None or n > rq[1])
            return tuple(names[: rq[2]]), len(names) > rq[2]
        if rnd is not None and rnd.random() < amb:
            x = rnd.random()
            if x < 0.3:
                self.mutate(rq)
                return "timeout"
            if x < 0.45:
                return "timeout"
            if x < 0.6:
                r = self.mutate(rq)  # the client library sent it twice
                return self.mutate(rq) if k == "put" and rq[3] != ANY else r
            self.inflight.append((self.t + late, rq))
            if x > 0.8 and self.mutate(rq) == "ok":
                return "ok"  # a double, that may land again later
            return "timeout"
        return self.mutate(rq)

    def note(self, pid, n):
        if n[1] == "op":
            self.ops[n[2]] = (n[3], n[4], n[5])
            self.writing[pid] = n[2]
        elif n[1] == "rev":
            self.rev[n[2]] = n[3]
        elif n[1] == "res":
            self.res[n[2]] = n[3]
            self.writing.pop(pid, None)
            STAT[n[3]] = STAT.get(n[3], 0) + 1
        elif n[1] == "stat":
            STAT[n[2]] = STAT.get(n[2], 0) + 1
        elif n[1] == "ans":
            a = dict(n[2])
            s = self.snap[pid]
            STAT["query"] = STAT.get("query", 0) + 1
            for i in self.ids:
                if not self.valid(i, a.get(i), s[i]):
                    raise Violation(
                        "R1/R2/R6 query of %s: %s is %s, but should be at or after position %d of %s"
                        % (pid, i, a.get(i), s[i], self.chain[i])
                    )

    def run_alone(self, g, pid):
        r = None
        try:
            while True:
                rq = g.send(r)
                if rq[0] == "now":
                    r = self.t + self.skew.get(pid, 0)
                elif rq[0] == "note":
                    r = self.note(pid, rq)
                else:
                    r = self.do(pid, rq)
                if self.trace is not None and rq[0] not in ("now",):
                    self.trace.append((self.t, pid, rq, r))
        except StopIteration:
            pass


def final(w, readers, rnd):
    cfg = w.cfg
    for wid, res in w.res.items():
        n = w.landed.get(wid, 0)
        if res == "ok" and not n:
            raise Violation(f"R8 {wid} answered ok but never landed")
        if res in ("conflict", "absent") and n:
            raise Violation(f"R8 {wid} answered {res} but landed")
    cfg.strong = True

    def check(what):
        p = Proc(cfg, "cold", [("q",)])
        try:
            w.run_alone(iter(p), "cold")
        except Violation as e:
            raise Violation(what + ", cold: " + str(e))
        for r in readers:
            try:
                w.run_alone(r.t_q(), r.pid)
            except Violation as e:
                raise Violation(what + ", warm: " + str(e))

    check("quiet")
    for k in range(2):
        tasks = [("resolve",), ("compact", 0, 9), ("clean",), ("full",), ("gc",), ("clean",), ("full",)]
        w.run_alone(iter(Proc(cfg, "M%d" % k, tasks)), "M")
        check("after maintain %d" % k)
        w.t += cfg.grace + 3
    return w


def scenario(cfg, seed, o, trace=None):
    rnd = random.Random(seed)
    nids = rnd.choice((1, 1, 2))
    ids = ["a", "b"][:nids]
    cfg.page = rnd.choice((1, 2, 3, 1000))
    cfg.strong = cfg.intent == "yes" and cfg.tombstone
    cfg.compact_deletes = rnd.random() < 0.7
    if o.get("sizes"):
        nw, nc, nr = o["sizes"]
    else:
        nw, nc, nr = rnd.choice((1, 2, 2, 3)), rnd.choice((0, 1, 1, 2, 2)), rnd.choice((1, 1, 2))
    skew = {}
    w = World(cfg, ids, skew)
    w.trace = trace
    sk = o.get("skew", 1)

    def wtask():
        i = rnd.choice(ids)
        x = rnd.random()
        if o.get("plain"):
            return ("save", i, ANY, True) if x < 0.6 else ("del", i)
        if x < 0.25:
            return ("save", i, ANY, False)
        if x < 0.4:
            return ("save", i, ANY, True)
        if x < 0.55:
            return ("save", i, ABSENT, False)
        if x < 0.8:
            return ("del", i)
        if x < 0.9:
            return ("rmw", i)
        return ("rmw", i, "d")

    def ctask():
        x = rnd.random()
        if x < 0.4:
            return ("compact",)
        if x < 0.55:
            return ("merge", rnd.choice((0, 1)), rnd.choice((1, 2)))
        if x < 0.75:
            return ("full",)
        if x < 0.85:
            return ("resolve",)
        if x < 0.92:
            return ("clean",)
        return ("gc",)

    # warm-up: a quiet past
    if rnd.random() < 0.6:
        for k in range(rnd.choice((1, 2, 3))):
            skew["P%d" % k] = rnd.randint(-sk, sk)
            p = Proc(
                cfg, "P%d" % k, [wtask() for _ in range(rnd.choice((1, 2)))] + ([ctask()] if rnd.random() < 0.6 else [])
            )
            w.run_alone(iter(p), p.pid)
            w.t += rnd.choice((0, 1, 1, 4, 12))
    readers, procs = [], []
    for k in range(nr):
        r = Proc(cfg, "R%d" % k, [("q",)] * rnd.choice((1, 2, 3)))
        if rnd.random() < 0.6:
            w.run_alone(r.t_q(), r.pid)
        readers.append(r)
        procs.append(r)
    for k in range(nw):
        procs.append(Proc(cfg, "W%d" % k, [wtask() for _ in range(rnd.choice((1, 1, 2, 3)))]))
    for k in range(nc):
        procs.append(Proc(cfg, "C%d" % k, [ctask() for _ in range(rnd.choice((1, 2, 3)))]))
    for p in procs:
        skew.setdefault(p.pid, rnd.randint(-sk, sk))
    back = random.Random(~seed)  # of its own, so that schedules without a restore stay the same
    copies = [w.copy()] if o.get("restore", 1) and back.random() < 0.5 else []
    copy_at = back.choice((0.02, 0.1, 0.3))

    def advance(s, r):
        try:
            while True:
                rq = s[1].send(r)
                if rq[0] == "now":
                    r = w.t + skew[s[0].pid]
                elif rq[0] == "note":
                    if trace is not None:
                        trace.append((w.t, s[0].pid, rq, None))
                    r = w.note(s[0].pid, rq)
                else:
                    s[2] = rq
                    return True
        except StopIteration:
            s[2] = None
            return False

    pct = rnd.random() < 0.5
    crashp = rnd.choice((0, 0, 0.01, 0.03))
    amb = rnd.choice((0, 0, 0.05, 0.15)) * o.get("amb", 1)
    tickp = rnd.choice(o.get("tickp", (0, 0.05, 0.15, 0.3)))
    late = o.get("late", 5)

    def play(rnd, procs):
        st = [[p, iter(p), None, None, rnd.random()] for p in procs]
        live = [s for s in st if advance(s, None)]
        while live:
            if rnd.random() < tickp:
                n = rnd.choice((1, 1, 2, o.get("jump", 6)))
                for _ in range(n):
                    w.t += 1
                    if w.inflight:
                        out = [x for x in w.inflight if x[0] < w.t]
                        if out:
                            w.inflight = [x for x in w.inflight if x[0] >= w.t]  # too late: never
                if trace is not None:
                    trace.append((w.t, "-", ("tick", n), None))
            if w.inflight and rnd.random() < 0.12:
                x = w.inflight.pop(rnd.randrange(len(w.inflight)))
                r = w.mutate(x[1])
                if trace is not None:
                    trace.append((w.t, "net", ("LATE",) + x[1], r))
            if pct:
                s = max(live, key=lambda s: s[4])
                if rnd.random() < 0.12:
                    s[4] = rnd.random() - (1 if rnd.random() < 0.4 else 0)
                elif rnd.random() < 0.05:
                    rnd.choice(live)[4] = rnd.random() + 0.5
            else:
                s = live[rnd.randrange(len(live))]
            if crashp and rnd.random() < crashp:
                if trace is not None:
                    trace.append((w.t, s[0].pid, ("CRASH before", s[2]), None))
                live.remove(s)
                dead.add(s[0])
                w.writing.pop(s[0].pid, None)
                if s[0] in readers:
                    readers.remove(s[0])
                continue
            if copies and back.random() < copy_at and w.is_quiet():
                copies.append(w.copy())
            r = w.do(s[0].pid, s[2], rnd, amb, late)
            if trace is not None:
                trace.append((w.t, s[0].pid, s[2], r))
            if not advance(s, r):
                live.remove(s)

    dead = set()
    play(rnd, procs)
    if copies:
        # The place is restored while nobody writes; who is alive goes on with what it knows.
        if back.random() < 0.3:
            copies.append(({}, {}, {i: [] for i in ids}, {}))  # or emptied
        w.restore(back.choice(copies))
        if trace is not None:
            trace.append((w.t, "-", ("RESTORED", w.bodies, w.index), None))
        copies.clear()
        w.t += back.choice((0, 1, 6, 20))
        STAT["restored"] = STAT.get("restored", 0) + 1
        rnd = back
        again = [p for p in procs if p not in dead]
        for p in again:
            kind = p.pid[0]
            p.script = [
                ("q",)
                if kind == "R" or rnd.random() < 0.2
                else ("own",)
                if rnd.random() < 0.25
                else wtask()
                if kind == "W"
                else ctask()
                for _ in range(rnd.choice((1, 1, 2, 3)))
            ]
        play(rnd, again)
        readers += [p for p in again if p not in readers and p not in dead]
    for x in w.inflight:
        if x[0] >= w.t and rnd.random() < 0.5:
            r = w.mutate(x[1])
            if trace is not None:
                trace.append((w.t, "net", ("LATE",) + x[1], r))
    w.inflight = []
    if trace is not None:
        trace.append((w.t, "-", ("QUIET",), None))
    final(w, readers, rnd)
    return w


def show(trace):
    for t, pid, rq, r in trace:
        print(
            "  t=%d %-4s %s%s"
            % (t, pid, " ".join(str(x) for x in rq), "" if r is None and rq[0] != "get" else f"  -> {r}")
        )


def hunt(o, n, secs, seed0=0, **kw):
    t0 = time.time()
    req = 0
    for k in range(n):
        cfg = Cfg(**kw)
        try:
            w = scenario(cfg, seed0 + k, o)
        except Violation as e:
            return k + 1, seed0 + k, str(e), time.time() - t0, req
        req += w.nreq
        if k & 255 == 0 and time.time() - t0 > secs:
            break
    return k + 1, None, None, time.time() - t0, req


if __name__ == "__main__":
    secs = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    r = hunt({}, 10**9, secs, seed)
    print(r)
    print(sorted(STAT.items(), key=lambda x: -x[1]))
    if r[1] is not None:
        tr = []
        try:
            scenario(Cfg(), r[1], {}, tr)
        except Violation as e:
            show(tr)
            print("VIOLATION", e)
