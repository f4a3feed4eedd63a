package conn

import (
	"testing"
)

// TestWhatARoundLeadsToElsewhereIsOneWrite: messages of one read are passed on over another
// connection in one write, also where the first ends behind them.
func TestWhatARoundLeadsToElsewhereIsOneWrite(t *testing.T) {
	const messages = bite
	for _, test := range []struct {
		name string
		ends bool
	}{{"it goes on", false}, {"it ends behind them", true}} {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan uint64, messages)
			a, b := sockets(t, "unix")
			on, _ := join(t, a, b, handlerFunc(func(Peer, *In) {}), handlerFunc(func(_ Peer, in *In) { got <- in.Seq }), Options{})
			a, b = sockets(t, "unix")
			from, _ := join(t, a, b, handlerFunc(func(Peer, *In) {}), handlerFunc(func(p Peer, in *In) {
				c, _ := p.(*Conn)
				c.FlushAfter(on)
				if err := on.Queue(testCall(in.Seq, 1, 8)); err != nil {
					t.Error(err)
				}
			}), Options{})
			before := on.snd.counted()
			for seq := range uint64(messages) {
				if err := from.Queue(testCall(seq+1, 1, 8)); err != nil {
					t.Fatal(err)
				}
			}
			from.Flush()
			if test.ends {
				_ = from.Close()
			}
			for seq := range uint64(messages) {
				if n := <-got; n != seq+1 {
					t.Errorf("message %d is %d", seq+1, n)
				}
			}
			now := on.snd.counted()
			if n := now.batches - before.batches; n != 1 || now.messages-before.messages != messages {
				t.Errorf("%d messages in %d writes", now.messages-before.messages, n)
			}
		})
	}
}
