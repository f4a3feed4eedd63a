package server

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// roomy is a host with room for results.
type roomy struct {
	Host
	asked uint64 // how much
	room  blob.Arg
	err   error
}

func (*roomy) Begin(_ blob.Call, _ blob.PartyID, args []blob.Arg) ([]blob.Arg, error) {
	return args, nil
}

func (h *roomy) Room(_ blob.Call, _ blob.PartyID, _ blob.Handle, size uint64) (blob.Arg, error) {
	h.asked = size
	return h.room, h.err
}

func theRoom(n uint64) blob.Arg {
	return blob.Arg{Handle: blob.Handle{ID: 7, Rights: blob.Read | blob.Write, Length: n}, Mode: blob.Out, Segment: 1}
}

// TestAWorkerGetsRoomForALongResult, if the last one was long, and a little more than that had.
func TestAWorkerGetsRoomForALongResult(t *testing.T) {
	const long = LongResult
	for name, c := range map[string]struct {
		last    uint64
		without frame.Features
		account *account
		host    roomy
		args    int
		asked   uint64
		rooms   int
	}{
		"the last one was long":        {last: long, account: &account{}, host: roomy{room: theRoom(1)}, args: 1, asked: long + long/8, rooms: 1},
		"the last one was short":       {account: &account{}, host: roomy{room: theRoom(1)}, args: 1},
		"nobody pays":                  {last: long, host: roomy{room: theRoom(1)}, args: 1},
		"only longer ones are wanted":  {last: long, account: &account{least: 2 * long}, host: roomy{room: theRoom(1)}, args: 1},
		"the worker does not know it":  {last: long, account: &account{}, without: frame.FeatureBlobReuse, host: roomy{room: theRoom(1)}, args: 1},
		"there is none":                {last: long, account: &account{}, args: 1, asked: long + long/8},
		"it is refused":                {last: long, account: &account{}, host: roomy{room: theRoom(1), err: blob.ErrQuota}, args: 1, asked: long + long/8},
		"there are blobs enough in it": {last: long, account: &account{}, host: roomy{room: theRoom(1)}, args: blob.MostArgs},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Method{room: new(atomic.Uint64)}
			m.room.Store(c.last)
			core := &Core{}
			core.opts.Blobs = &c.host
			j := &Job{core: core, Method: m, account: c.account, loan: &loan{args: make([]blob.Arg, c.args)}}
			got, err := j.LendTo(1, (frame.FeatureBlobs|frame.FeatureBlobReuse)&^c.without)
			if err != nil || len(got) != c.args+c.rooms || c.host.asked != c.asked {
				t.Errorf("%d arguments, %v; %d bytes were asked for, want %d", len(got), err, c.host.asked, c.asked)
			}
			if c.rooms > 0 && !got[len(got)-1].Room {
				t.Errorf("it does not say what it is: %+v", got[len(got)-1])
			}
		})
	}
}

// TestTheLastResultIsRemembered, if it is in a blob and not so long that it does not matter.
func TestTheLastResultIsRemembered(t *testing.T) {
	j := &Job{Method: &Method{room: new(atomic.Uint64)}}
	result := func(n uint64) blob.Arg { return blob.Arg{Handle: blob.Handle{Length: n}, Mode: blob.Out, Body: true} }
	other := result(9)
	other.Body = false
	for _, c := range []struct {
		made []blob.Arg
		want uint64
	}{
		{[]blob.Arg{result(LongResult)}, LongResult}, {[]blob.Arg{other, result(mostRoom)}, mostRoom},
		{[]blob.Arg{result(mostRoom + 1)}, 0}, {[]blob.Arg{result(5)}, 5}, {nil, 0}, {[]blob.Arg{result(6)}, 6}, {[]blob.Arg{other}, 0},
	} {
		if j.note(c.made); j.Method.room.Load() != c.want {
			t.Errorf("after %+v it is %d, want %d", c.made, j.Method.room.Load(), c.want)
		}
	}
}

// asker is a worker's party.
type asker struct {
	Callee
	asked []uint64 // for results of so many bytes
	found []blob.Arg
	err   error
}

type plainView []byte

func (v plainView) Bytes() []byte { return v }
func (plainView) Close() error    { return nil }

func (c *asker) Argument(_ blob.Call, a blob.Arg) (blob.View, error) {
	c.found = append(c.found, a)
	return plainView(make([]byte, a.Handle.Length)), c.err
}

func (c *asker) Result(_ blob.Call, size uint64) (blob.Arg, blob.View, error) {
	c.asked = append(c.asked, size)
	return blob.Arg{Mode: blob.Out}, plainView(make([]byte, size)), nil
}

// TestAWorkerAsksForWhatItHasNoRoomFor alone.
func TestAWorkerAsksForWhatItHasNoRoomFor(t *testing.T) {
	const n = LongResult
	for name, c := range map[string]struct {
		room  *blob.Arg
		asks  int
		found int
	}{
		"it has room":            {room: new(theRoom(n + 100)), found: 1},
		"it has just enough":     {room: new(theRoom(n)), found: 1},
		"it has too little":      {room: new(theRoom(n - 1)), asks: 1},
		"it has none":            {asks: 1},
		"it has used it already": {room: new(theRoom(0)), asks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, a := &Local{}, &asker{}
			l.Lend(a)
			args, count := blob.AppendArgs(nil, []blob.Arg{{Handle: blob.Handle{Rights: blob.Read}, Mode: blob.In, Body: true}}), uint8(1)
			if c.room != nil {
				c.room.Room = true
				args, count = blob.AppendArgs(args, []blob.Arg{*c.room}), 2
			}
			j := &Job{Args: args, bare: &Bare{}, local: l}
			if err := j.takeBlobs(count); err != nil || len(j.loan.args) != 1 || !j.InBody() {
				t.Fatalf("%+v, %v", j.loan, err)
			}
			if b := j.Room(n); len(b) != n {
				t.Errorf("room of %d bytes", len(b))
			}
			if len(a.asked) != c.asks || len(a.found) != c.found || len(j.loan.results) != 1 || j.loan.results[0].Room || !j.loan.results[0].Body {
				t.Errorf("it has asked for %v, and found %v; results %+v", a.asked, a.found, j.loan.results)
			}
			if c.found > 0 && j.loan.results[0].Handle != c.room.Handle {
				t.Errorf("the result is %v, the room %v", j.loan.results[0].Handle, c.room.Handle)
			}
		})
	}
}

// TestAWorkerThatCannotMapItsRoom sends its result in a message.
func TestAWorkerThatCannotMapItsRoom(t *testing.T) {
	l, a := &Local{}, &asker{err: errors.New("unmapped")}
	l.Lend(a)
	j := &Job{bare: &Bare{}, local: l, loan: &loan{room: theRoom(LongResult)}}
	if b := l.room(j, LongResult); b != nil || len(j.loan.results) != 0 {
		t.Errorf("%d bytes, results %+v", len(b), j.loan.results)
	}
}

// TestRoomIsForWorkers: a client that offers some is refused.
func TestRoomIsForWorkers(t *testing.T) {
	room := theRoom(LongResult)
	room.Room = true
	j := &Job{Args: blob.AppendArgs(nil, []blob.Arg{room})}
	if err := j.takeBlobs(1); err == nil || !strings.Contains(err.Error(), "which is for workers") {
		t.Errorf("got %v", err)
	}
}

// willing is a reader that runs every job that it is given.
type willing struct{ runs int }

func (w *willing) Last(conn.Last, time.Duration) bool {
	w.runs++
	return true
}
func (*willing) LastAlone(conn.Last) bool { return false }

// TestAReaderRunsWhatHasItsArgumentsInABlob, if nothing is to be copied first that is long.
func TestAReaderRunsWhatHasItsArgumentsInABlob(t *testing.T) {
	in := func(n uint64) blob.Arg { return blob.Arg{Handle: blob.Handle{Length: n}, Mode: blob.In, Body: true} }
	for name, c := range map[string]struct {
		loan *loan
		runs int
	}{
		"none":              {nil, 1},
		"a short one":       {&loan{args: []blob.Arg{in(mostRoom)}}, 1},
		"a long one":        {&loan{args: []blob.Arg{in(mostRoom + 1)}}, 0},
		"more than one":     {&loan{args: []blob.Arg{{Mode: blob.In}, in(1)}}, 0},
		"one that it names": {&loan{args: []blob.Arg{{Mode: blob.InOut, Snapshot: true}}}, 0},
	} {
		reader := &willing{}
		l := &Local{idle: []chan *Job{make(chan *Job, 1)}}
		p := new(pace)
		p.quick.Store(trustAfter)
		l.Execute(&Job{Method: &Method{pace: p}, last: reader, loan: c.loan})
		if reader.runs != c.runs || len(l.idle) != c.runs {
			t.Errorf("%s: the reader runs %d, and %d goroutines have nothing to do", name, reader.runs, len(l.idle))
		}
	}
}
