package registry

import (
	"errors"
	"fmt"
	"time"
)

// simNode is a process with a registrar, a view and a use for locks. What would
// happen to it while it is frozen happens when it thaws.
type simNode struct {
	w         *world
	id        string
	lasting   bool
	secret    Secret  // of the instance, which may outlive its process
	life      int     // number of the process
	rate      float64 // of its clock
	frozen    time.Duration
	cut       time.Duration // until when nothing reaches the registry
	woken     int           // number of the last alarm
	registrar *Registrar
	view      *View
	told      []*Update // all updates, for those that come late
	sent      uint64    // version of the last update that left for it

	number uint64 // of the last request
	wants  map[string]uint64
	has    map[string]Held
	undone map[uint64]bool // requests whose release is not confirmed
	turns  int
}

func (w *world) newNode(id string, lasting bool) *simNode {
	n := &simNode{w: w, id: id, lasting: lasting, rate: 0.95 + 0.1*w.rng.Float64()}
	n.start()
	return n
}

// start is the start of a process: of the same instance as the one before, or of another.
func (n *simNode) start() {
	w := n.w
	n.life++
	n.view, n.told, n.sent = NewView(), nil, 0
	n.forget()
	n.number = uint64(n.life) << 32
	if n.life == 1 || w.one(2) {
		n.secret = w.secret()
	}
	services := []Service{{Name: "infer"}}
	if w.one(2) {
		services = append(services, Service{Name: "train", ID: uint64(n.id[5])})
	}
	r, err := NewRegistrar(n.clock(), RegistrarOptions{
		ID: n.id, Secret: n.secret, Life: uint32(n.life), Lasting: n.lasting, Random: w.rng.Float64,
	}, Endpoints{TCP: fmt.Sprintf("[::1]:%d", w.rng.IntN(1<<16)), Boot: "boot"}, services)
	if err != nil {
		w.fatalf("%v", err)
	}
	n.registrar = r
	n.step()
	n.watch()
	n.work()
}

// forget is the loss of all locks.
func (n *simNode) forget() {
	n.wants, n.has, n.undone = map[string]uint64{}, map[string]Held{}, map[uint64]bool{}
}

func (n *simNode) clock() time.Duration { return time.Duration(float64(n.w.now) * n.rate) }

// hear does something in a certain life of the process, as soon as it is not frozen.
func (n *simNode) hear(life int, do func()) {
	if n.w.now < n.frozen {
		n.w.after(n.frozen-n.w.now, func() { n.hear(life, do) })
	} else if life == n.life {
		do()
		n.step()
	}
}

func (n *simNode) freeze(d time.Duration) {
	n.frozen = max(n.frozen, n.w.now+d)
	life := n.life
	// it looks at the clock before anything else
	n.w.events = append(n.w.events, event{n.frozen, -n.w.serial, func() {
		if life == n.life && n.w.now >= n.frozen {
			n.step()
		}
	}})
	n.w.events.fix()
}

func (n *simNode) crash() {
	n.life++ // nothing is heard any more
	n.registrar.Leave(n.clock())
	n.forget()
	life := n.life
	n.w.after(n.w.upTo(30*time.Second), func() {
		if life == n.life {
			n.start()
		}
	})
}

func (n *simNode) leave() {
	w := n.w
	if w.now < n.frozen {
		return
	}
	owner, has := n.registrar.Leave(n.clock())
	n.crash()
	if has {
		o := recode(w, &owner)
		w.carry(n, func(r *Registry) func() {
			_ = r.Deregister(w.now, o)
			return nil
		})
	}
}

func (n *simNode) change() {
	at := Endpoints{TCP: fmt.Sprintf("[::1]:%d", n.w.rng.IntN(1<<16))}
	services := n.registrar.Services()
	if n.w.one(2) {
		services = append(services, Service{Name: "more"})
	}
	if err := n.registrar.Update(n.clock(), at, services[max(0, len(services)-4):]); err != nil {
		n.w.fatalf("%v", err)
	}
	n.hear(n.life, func() {})
}

// step does what the registrar says.
func (n *simNode) step() {
	w := n.w
	a := n.registrar.Step(n.clock())
	life := n.life
	failed := func(err error) func() {
		var no *Refusal
		if errors.As(err, &no) {
			err = recode(w, no)
		}
		return func() { n.registrar.Failed(n.clock(), a.Attempt, err) }
	}
	switch {
	case a.Fence && n.lasting: // only its locks end
		w.did["went on without a lease"]++
		n.forget()
		n.registrar.Revive(n.clock(), n.secret)
		n.step()
		return
	case a.Fence:
		w.did["fenced itself"]++
		n.forget()
		w.after(w.upTo(5*time.Second), func() {
			n.hear(life, func() {
				n.secret = w.secret()
				n.registrar.Revive(n.clock(), n.secret)
			})
		})
	case a.Register != nil:
		m := recode(w, a.Register)
		w.carry(n, func(r *Registry) func() {
			ack, err := r.Register(w.now, m)
			if err != nil {
				return failed(err)
			}
			w.noteEpoch(ack.Epoch, m)
			ack = recode(w, ack)
			return func() {
				for _, h := range n.registrar.Confirmed(n.clock(), a.Attempt, ack) {
					w.did["lock lost"]++
					delete(n.has, h.Name)
				}
			}
		})
	case a.Renew != nil:
		m := recode(w, a.Renew)
		w.carry(n, func(r *Registry) func() {
			if err := r.Renew(w.now, m); err != nil {
				return failed(err)
			}
			return func() { n.registrar.Renewed(n.clock(), a.Attempt) }
		})
	}
	if a.Wake != Never {
		n.woken++
		alarm := n.woken
		wait := time.Duration(float64(a.Wake-n.clock())/n.rate) + 1
		w.after(max(1, wait), func() {
			if alarm == n.woken {
				n.hear(life, func() {})
			}
		})
	}
}

// watch is a stream of what is new: some of it comes twice, late or not at all.
func (n *simNode) watch() {
	w, life := n.w, n.life
	w.after(50*time.Millisecond+w.upTo(time.Second), func() { n.hear(life, n.watch) })
	w.carry(n, func(r *Registry) func() {
		b, err := r.Encoded(w.now, n.sent)
		if err != nil {
			w.fatalf("%v", err)
		}
		if b == nil { // who hears nothing new still hears of which version that is
			version := r.Version(w.now)
			return func() {
				if n.view.Version() != version {
					n.sent = n.view.Version()
				}
			}
		}
		u, err := Decode[Update](b)
		if err != nil {
			w.fatalf("%v", err)
		}
		n.sent = u.To
		return func() {
			n.told = append(n.told, u)
			if err := n.view.Apply(n.told[w.rng.IntN(len(n.told))]); err != nil && !errors.Is(err, ErrGap) {
				w.fatalf("%v", err)
			}
			if err := n.view.Apply(u); errors.Is(err, ErrGap) {
				w.did["gap"]++
				n.sent = n.view.Version() // the stream begins anew there
			}
		}
	})
}
