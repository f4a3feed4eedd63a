package tracker

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"rpcpool.dev/tvm"
)

// maxWaiting is how many of the requests that wait a summary lists in detail,
// over all keys: enough for people to read.
const maxWaiting = 100

// FieldGrantedTo is a field that we add to a server's entry in a summary, beside
// those of package tvm: the tracker's address of the client that was given it.
const FieldGrantedTo = "granted_to"

// snapshot is the registry at one moment. It shares nothing that changes.
type snapshot struct {
	now     time.Time
	queues  map[string]tvm.QueueInfo
	servers []serverView
}

// serverView is one server in a [snapshot].
type serverView struct {
	id        uint64
	key       string
	info      map[string]json.RawMessage
	state     State
	since     time.Time
	grantedTo string
	native    bool
}

// snapshot copies what a summary shows. It is called with the registry locked,
// so it leaves everything that can be done later to [snapshot.reply].
func (r *registry) snapshot(now time.Time) snapshot {
	r.sweep(now)
	s := snapshot{
		now:     now,
		queues:  make(map[string]tvm.QueueInfo, len(r.queues)),
		servers: make([]serverView, 0, len(r.servers)),
	}
	for p := range r.servers {
		state, since := r.state(p, now)
		v := serverView{id: p.id, key: p.key, info: p.info, state: state, since: since, native: p.native != ""}
		if state == StateGranted || state == StateBusy {
			v.grantedTo = p.client()
		}
		s.servers = append(s.servers, v)
	}
	room := maxWaiting
	for key, q := range r.queues {
		info := tvm.QueueInfo{Free: q.free.Len(), Pending: q.waiting}
		info.Waiting = q.view(now, min(room, q.waiting))
		room -= len(info.Waiting)
		s.queues[key] = info
	}
	return s
}

// sweep withholds the offers of hung servers and forgets keys of old.
func (r *registry) sweep(now time.Time) {
	r.expire(now)
	for p := range r.servers {
		if len(p.offers) > p.withheld && r.silent(p, now) {
			r.withhold(p, now)
		}
	}
}

func (q *queue) view(now time.Time, most int) []tvm.Waiting {
	if most == 0 {
		return nil
	}
	list := make([]tvm.Waiting, 0, most)
	q.each(func(rq *request) bool {
		list = append(list, tvm.Waiting{
			Client: rq.from.addr, User: rq.user, Priority: rq.priority, AgeS: seconds(now.Sub(rq.since)),
		})
		return len(list) < most
	})
	return list
}

// reply is the answer to SUMMARY, with servers in the order of their keys and
// then of their registration.
func (s snapshot) reply() tvm.SummaryReply {
	slices.SortFunc(s.servers, func(a, b serverView) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return compare(a.id, b.id)
	})
	out := tvm.SummaryReply{Queue: s.queues, Servers: make([]tvm.ServerInfo, len(s.servers))}
	for i := range s.servers {
		out.Servers[i] = tvm.ServerInfo{Info: s.servers[i].fields(s.now)}
	}
	return out
}

// fields is what the server says, verbatim, and what we know.
func (v *serverView) fields(now time.Time) map[string]json.RawMessage {
	const added = 3
	info := make(map[string]json.RawMessage, len(v.info)+added)
	maps.Copy(info, v.info)
	info[tvm.FieldState] = quoted("", string(v.state), "")
	info[tvm.FieldAge] = strconv.AppendFloat(nil, seconds(now.Sub(v.since)), 'f', -1, 64)
	if v.grantedTo != "" {
		info[FieldGrantedTo] = quoted("", v.grantedTo, "")
	}
	if v.native && v.state != StateBusy {
		delete(info, tvm.FieldSession) // it is over, whatever the last UPDATE_INFO said
	}
	return info
}

// seconds are in milliseconds' steps: people read them.
func seconds(d time.Duration) float64 {
	return d.Truncate(time.Millisecond).Seconds()
}

// census is the registry in numbers, all of the same moment.
type census struct {
	servers map[string]map[State]int
	waiting map[string]int
	counts  counts
}

func (r *registry) census(now time.Time) census {
	r.sweep(now)
	c := census{servers: map[string]map[State]int{}, waiting: make(map[string]int, len(r.queues)), counts: r.counts}
	for p := range r.servers {
		key := p.deviceKey()
		if c.servers[key] == nil {
			c.servers[key] = map[State]int{}
		}
		state, _ := r.state(p, now)
		c.servers[key][state]++
	}
	for key, q := range r.queues {
		c.waiting[key] = q.waiting
	}
	return c
}
