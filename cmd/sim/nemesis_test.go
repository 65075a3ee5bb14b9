package sim

import (
	"math/rand/v2"
	"time"
)

// startNemesis has faults happen to agents and cables until peace comes.
func (w *world) startNemesis() {
	next := func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(2 * w.cfg.nemesis))) }
	w.s.submit(&step{who: "nemesis", what: "begins", decide: next, run: func() time.Duration {
		if !w.faulty {
			return 0
		}
		w.strike(w.s.rng)
		return next(w.s.rng) + 1
	}})
}

// strike does one evil thing.
func (w *world) strike(r *rand.Rand) {
	h := w.hosts[w.names[r.IntN(len(w.names))]]
	if chance(r, 0.4) { // more often than chance would have it, whoever leads
		for _, name := range w.names {
			if l := w.hosts[name].life; l != nil && l.peersUp.Load() && l.replica.Leading() {
				h = w.hosts[name]
			}
		}
	}
	switch dice := r.IntN(11); {
	case dice < 3:
		if h.life == nil || h.held() > 0 && chance(r, 0.5) {
			return
		}
		w.crash(r, h)
	case dice < 4 && chance(r, 0.1):
		w.count("crash of all")
		for _, name := range w.names {
			if h := w.hosts[name]; h.life != nil {
				w.crash(r, h)
			}
		}
	case dice < 5:
		for_ := time.Duration(r.Int64N(int64(w.cfg.pauseFor)))
		w.count("pause")
		if for_ > 10*time.Minute {
			w.count("pause beyond ten minutes")
		}
		w.s.trace("nemesis", "pauses "+h.name+" for "+for_.String())
		if until := time.Now().Add(for_); until.After(h.paused) { // what is held already stays so until then
			h.paused = until
		}
	case dice < 6:
		if h.life == nil || h.life.drain == nil {
			return
		}
		w.count("drain")
		w.s.trace("nemesis", "drains "+h.life.name)
		select {
		case <-h.life.drain:
		default:
			close(h.life.drain)
		}
	case dice < 7:
		w.sever(r, h)
	default:
		w.cut(r, h)
	}
}

// sever cuts an agent, or all, off from the bucket.
func (w *world) sever(r *rand.Rand, h *host) {
	s := severed{until: time.Now().Add(time.Duration(r.Int64N(int64(30 * time.Second)))), silent: chance(r, 0.5)}
	all := chance(r, 0.15)
	w.count("bucket cut")
	for _, name := range w.names {
		if name == h.name || all {
			w.s.trace("nemesis", "cuts "+name+" off from the bucket for "+time.Until(s.until).String())
			w.severed[name] = s
		}
	}
}

// crash ends a process, and has another begin some time later.
func (w *world) crash(r *rand.Rand, h *host) {
	w.count("crash")
	w.s.trace("nemesis", "crashes "+h.life.name)
	h.crash()
	h.paused = time.Time{}
	w.restart(h, time.Duration(r.Int64N(int64(15*time.Second))))
}

// cut cuts an agent off from one other or from all, in one direction or in both.
func (w *world) cut(r *rand.Rand, h *host) {
	until := time.Now().Add(time.Duration(r.Int64N(int64(25 * time.Second))))
	all, oneWay := chance(r, 0.3), chance(r, 0.4)
	other := w.names[r.IntN(len(w.names))]
	kind := "cut"
	if oneWay {
		kind = "cut one way"
	}
	w.count(kind)
	for _, name := range w.names {
		if name == h.name || name != other && !all {
			continue
		}
		w.s.trace("nemesis", kind+": "+h.name+" to "+name+" for "+time.Until(until).String())
		w.cuts[cable{h.name, name}] = until
		if !oneWay {
			w.cuts[cable{name, h.name}] = until
		}
	}
}
