package tracker

import (
	"cmp"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"rpcpool.dev/tvm"
)

// readFields are the fields that clients, or we, read.
var readFields = [...]string{tvm.FieldKey, tvm.FieldAddr, tvm.FieldState, tvm.FieldSession}

// update merges what a connection says about itself. It returns whether this
// made a server of it.
func (r *registry) update(
	p *peer, now time.Time, m tvm.UpdateInfo, out []handoff,
) (more []handoff, registered bool, err error) {
	info := maps.Clone(p.info)
	if info == nil {
		info = make(map[string]json.RawMessage, len(m.Info)+1)
	}
	maps.Copy(info, m.Info)
	p.fillAddr(info)
	if err := fit(info); err != nil {
		return out, false, err
	}
	merged := tvm.UpdateInfo{Info: info}
	said := identityOf(merged)
	if err := r.charge(p, infoCost(info)+said.cost()-infoCost(p.info)-p.said.cost()); err != nil {
		return out, false, err
	}
	p.info = info
	p.key = merged.Key()
	_, known := r.servers[p]
	if p.isServer() {
		r.servers[p] = struct{}{}
	} else {
		delete(r.servers, p)
	}
	r.identify(p, said)
	state := m.State()
	if state.Valid() || p.native != "" || said.instance != "" {
		r.settle(p, now)
	}
	if state.Valid() {
		r.declare(p, state, now)
	}
	if p.home != nil {
		r.touch(p.home)
	}
	out = r.obeyHold(p, now, out)
	// Last: what was withheld is given out by what the server says now.
	return r.seen(p, now, out), !known && p.isServer(), nil
}

// fit drops fields that clients do not read, the largest first, until the others
// fit [maxInfoBytes]. It fails if those that clients read do not.
func fit(info map[string]json.RawMessage) error {
	cost := infoCost(info)
	if cost <= maxInfoBytes {
		return nil
	}
	extra := make([]string, 0, len(info))
	for name := range info {
		if !slices.Contains(readFields[:], name) {
			extra = append(extra, name)
		}
	}
	slices.SortFunc(extra, func(a, b string) int { // the smallest first; which one goes must not be chance
		return cmp.Or(cmp.Compare(fieldCost(a, info[a]), fieldCost(b, info[b])), strings.Compare(a, b))
	})
	for ; cost > maxInfoBytes && len(extra) > 0; extra = extra[:len(extra)-1] {
		largest := extra[len(extra)-1]
		cost -= fieldCost(largest, info[largest])
		delete(info, largest)
	}
	if cost > maxInfoBytes {
		return errTooMuch
	}
	return nil
}

// declare notes what one of our servers says about its state.
func (r *registry) declare(p *peer, s tvm.NativeState, now time.Time) {
	if p.native == tvm.StateBusy && s != tvm.StateBusy {
		for len(p.granted) > 0 {
			r.resolve(p.granted[0], handoffUsed, now)
		}
	}
	p.setNative(s, now)
	if s == tvm.StateFree {
		return
	}
	r.withdraw(p, now)
	if s == tvm.StateBusy {
		for _, o := range p.granted {
			o.used = true
		}
	}
}

// settle keeps the queue of a native server's key alive, and the server listed
// there, as long as it is connected, although it offers nothing while it is
// busy.
func (r *registry) settle(p *peer, now time.Time) {
	key := p.deviceKey()
	if p.home != nil && p.home.key == key {
		return
	}
	r.unsettle(p, now)
	if p.isServer() && len(key) <= maxKeyBytes {
		p.home = r.queue(key)
		p.homeIndex = len(p.home.homes)
		p.home.homes = append(p.home.homes, p)
		p.home.offered = true
	}
}

func (r *registry) unsettle(p *peer, now time.Time) {
	if q := p.home; q != nil {
		last := len(q.homes) - 1
		moved := q.homes[last]
		moved.homeIndex = p.homeIndex
		q.homes[p.homeIndex], q.homes[last] = moved, nil
		q.homes, p.home = q.homes[:last], nil
		r.touch(q)
		r.tidy(q, now)
	}
}

// fillAddr makes the field "addr" one that clients can print: servers of old
// send none, and those that do not know their address send a null host.
func (p *peer) fillAddr(info map[string]json.RawMessage) {
	if host, _ := (tvm.UpdateInfo{Info: info}).Addr(); host != nil {
		return
	}
	port := json.RawMessage(strconv.Itoa(p.port))
	var pair []json.RawMessage
	if err := json.Unmarshal(info[tvm.FieldAddr], &pair); err == nil && len(pair) > 1 {
		port = pair[1]
	}
	info[tvm.FieldAddr] = quoted("[", p.host, ", "+string(port)+"]")
}

// isServer tells whether SUMMARY lists the connection. Clients cut its key at
// the colon, without looking whether there is one.
func (p *peer) isServer() bool {
	return strings.HasPrefix(p.key, "server") && strings.Contains(p.key, ":")
}

// deviceKey is the key under which a server is counted. A proxy's names all of
// its servers' keys.
func (p *peer) deviceKey() string {
	_, key, _ := strings.Cut(p.key, ":")
	return key
}

func infoCost(info map[string]json.RawMessage) int64 {
	cost := int64(0)
	for name, value := range info {
		cost += fieldCost(name, value)
	}
	return cost
}

func fieldCost(name string, value json.RawMessage) int64 {
	return int64(infoFieldBytes + len(name) + len(value))
}

// quoted returns s as a JSON string between two pieces of JSON text.
func quoted(before, s, after string) json.RawMessage {
	text, err := json.Marshal(s)
	if err != nil { // strings always marshal
		text = []byte(`""`)
	}
	b := make(json.RawMessage, 0, len(before)+len(text)+len(after))
	b = append(b, before...)
	b = append(b, text...)
	return append(b, after...)
}

// setAddr notes where the connection comes from. The host is what clients are
// told for servers that name none, so it is plain text without a port.
func (p *peer) setAddr(a net.Addr) {
	p.addr = a.String()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		p.host = p.addr
		return
	}
	p.port = tcp.Port
	host, _, err := net.SplitHostPort(p.addr)
	if err != nil {
		host = tcp.IP.String()
	}
	p.host = host
}
