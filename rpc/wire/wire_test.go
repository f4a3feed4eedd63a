package wire

import (
	"net"
	"reflect"
	"testing"
	"time"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// carry is a frame on its way, as far as this package is concerned.
func carry(t *testing.T, f *conn.Message) *conn.In {
	t.Helper()
	if err := f.Check(); err != nil {
		t.Fatalf("%+v cannot be sent: %v", f.Header, err)
	}
	return &conn.In{Header: f.Header, Ext: f.Ext, Body: f.Body}
}

func TestWhatAClientSaysIsWhatAServerHears(t *testing.T) {
	fence := &session.Fence{Version: 3, Last: 9, Open: []uint64{4, 9}}
	for name, m := range map[string]session.Message{
		"a call":                   {Kind: session.Call, Seq: 7, Ack: 3, Lane: 5, Time: time.Hour, Idempotent: true, Body: []byte("args")},
		"a call that needs others": {Kind: session.Call, Seq: 7, Ack: 3, Needs: &session.Needs{Calls: []uint64{4, 6}}},
		"a call with a fence":      {Kind: session.Call, Seq: 7, Ack: 3, Closed: fence},
		"a cancel with a fence":    {Kind: session.Cancel, Seq: 7, Ack: 3, Closed: fence},
		"a cancel":                 {Kind: session.Cancel, Seq: 7, Ack: 3},
		"an ack":                   {Kind: session.Ack, Ack: 3},
		"an ack with a fence":      {Kind: session.Ack, Ack: 3, Closed: fence},
		"a ping":                   {Kind: session.Ping, Ack: 3},
		"a goodbye":                {Kind: session.Bye, Ack: 3},
		"a hello": {Kind: session.Hello, Ack: 3, Closed: fence, Greeting: &session.Handshake{
			Session: session.ID{1}, Secret: session.ID{2}, Former: session.ID{3}, Proof: session.ID{4}, Resume: true,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got, heard session.Message
			var ahead conn.Message
			if Fence(&m, &ahead) {
				if ok, err := ParseRequest(carry(t, &ahead), &heard); !ok || err != nil {
					t.Fatalf("fence: %v, %v", ok, err)
				}
				got = session.Message{Kind: session.Ack, Ack: heard.Ack, Closed: heard.Closed}
			}
			var f conn.Message
			if Request(&m, &f) {
				if ok, err := ParseRequest(carry(t, &f), &heard); !ok || err != nil {
					t.Fatalf("%v, %v", ok, err)
				}
				closed := got.Closed
				if got = heard; closed != nil {
					got.Closed = closed
				}
			}
			if got.Body == nil {
				got.Body = m.Body
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("got %+v\nwant %+v", got, m)
			}
		})
	}
}

func TestWhatAServerSaysIsWhatAClientHears(t *testing.T) {
	who := &session.Handshake{Session: session.ID{1}}
	for name, m := range map[string]session.Message{
		"a result":           {Kind: session.Reply, Seq: 7, Fence: 2, Execution: session.Executed, Body: []byte("result")},
		"an error":           {Kind: session.Reply, Seq: 7, Code: session.Crashed, Body: Failure(time.Second, "worker died", []byte("report"))},
		"an error like that": {Kind: session.Reply, Seq: 7, Code: session.Lost, Body: Failure(0, "", nil)},
		"a welcome":          {Kind: session.Welcome, Time: time.Hour, Greeting: &session.Handshake{Session: session.ID{1}, Domain: session.ID{2}, Life: 3, Resume: true}},
		"gone":               {Kind: session.Gone, Greeting: who},
		"full":               {Kind: session.Full, Greeting: who},
		"in progress":        {Kind: session.InProgress, Seq: 7, Fence: 2},
		"started":            {Kind: session.Started, Seq: 7},
		"a pong":             {Kind: session.Pong, Time: time.Minute},
		"a confirmation":     {Kind: session.Confirm, Fence: 4},
	} {
		t.Run(name, func(t *testing.T) {
			var f conn.Message
			Response(&m, &f)
			var got session.Message
			if ok, err := ParseResponse(carry(t, &f), &got); !ok || err != nil {
				t.Fatalf("%v, %v", ok, err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("got %+v\nwant %+v", got, m)
			}
		})
	}
}

func TestAFailureIsWhatWasSaid(t *testing.T) {
	retry, text, detail := ParseFailure(Failure(-time.Millisecond, "no", []byte{9}))
	if retry != -time.Millisecond || text != "no" || string(detail) != "\t" {
		t.Errorf("%v, %q, %v", retry, text, detail)
	}
	if retry, text, _ := ParseFailure([]byte{1}); retry != 0 || text != "\x01" {
		t.Errorf("what is none became %v, %q", retry, text)
	}
	if retry, text, detail := ParseFailure(nil); retry != 0 || text != "" || detail != nil {
		t.Errorf("nothing became %v, %q, %v", retry, text, detail)
	}
}

func TestFrameAndSessionAgreeOnHowManyResultsACallMayNeed(t *testing.T) {
	if frame.MaxNeeds != session.MaxNeeds {
		t.Errorf("%d, %d", frame.MaxNeeds, session.MaxNeeds)
	}
}

func TestFramesOfOthersAreNotTheSessions(t *testing.T) {
	var m session.Message
	for _, typ := range []frame.Type{frame.TypeBind, frame.TypeGoAway, frame.TypePing} {
		in := &conn.In{Header: frame.Header{Type: typ}}
		if ok, _ := ParseRequest(in, &m); ok {
			t.Errorf("%v is taken for a request", typ)
		}
		if ok, _ := ParseResponse(in, &m); ok {
			t.Errorf("%v is taken for a response", typ)
		}
	}
}

func TestACodeOfALaterVersionIsAFailure(t *testing.T) {
	m := session.Message{Kind: session.Reply, Seq: 1, Code: session.Codes + 3, Execution: session.NotExecuted}
	var f conn.Message
	Response(&m, &f)
	if _, err := ParseResponse(carry(t, &f), &m); err != nil || m.Code != session.Failed || m.Execution != session.NotExecuted {
		t.Errorf("got %v %v, %v", m.Code, m.Execution, err)
	}
}

// link counts how often memory is let go of.
type link int

func (l *link) Release() { *l++ }

func TestALongBodysTimeIsNotedAndItsOwnerToldOnce(t *testing.T) {
	packers := compress.New(compress.Options{Now: time.Now})
	var owner link
	var a compress.Adaptive
	f := conn.Message{Body: make([]byte, linkLeast), Owner: &owner}
	Time(&a, &f)
	f.Owner.Release()
	if owner != 1 || a.Stats().LinkRate == 0 {
		t.Errorf("owner is told %d times, the link has %+v", owner, a.Stats())
	}
	var unsent compress.Adaptive
	f = conn.Message{Body: make([]byte, linkLeast), Owner: &owner}
	Time(&unsent, &f)
	Disown(&f)
	if owner != 2 || unsent.Stats().LinkRate != 0 {
		t.Errorf("owner is told %d times, of what was not sent the link has %+v", owner, unsent.Stats())
	}
	Disown(&conn.Message{})
	short := conn.Message{Body: make([]byte, compress.MinLen-1)}
	Squeeze(packers, &a, compress.S2, &short)
	Time(&a, &short)
	if short.Flags != 0 || short.Owner != nil {
		t.Errorf("a short body became %+v", short)
	}
	long := conn.Message{Body: make([]byte, 64<<10)}
	Squeeze(packers, new(compress.Adaptive), compress.S2, &long)
	if long.Flags&frame.FlagCompressed == 0 || long.Ext.PlainLen != 64<<10 || len(long.Body) >= 64<<10 {
		t.Errorf("a long one has flags %#x, %d bytes of %d", long.Flags, len(long.Body), long.Ext.PlainLen)
	}
	if Faraway(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}) || Faraway(&net.UnixAddr{}) || !Faraway(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}) {
		t.Error("near and far are mixed up")
	}
}
