package client

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func serveJournal(dir, policy, life string) error {
	number, err := strconv.Atoi(policy)
	if err != nil {
		return err
	}
	log, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{Policy: journal.Policy(number)})
	if err != nil {
		return err
	}
	truth, err := os.OpenFile(filepath.Join(dir, "truth"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	local := &server.Local{}
	core, err := server.New(local, server.Options{Journal: log, Sync: number != int(journal.Process), ID: log.ID(), Life: uint64(log.Life()), Limit: 1})
	if err != nil {
		return err
	}
	err = core.Register(server.Method{Name: "do", Run: func(j *server.Job) (session.Code, []byte) {
		_, _ = fmt.Fprintf(truth, "%s in life %s\n", j.Args, life)
		if string(j.Args) == "hang" && life == "1" {
			select {}
		}
		return session.OK, append([]byte("did "), j.Args...)
	}})
	if err != nil {
		return err
	}
	ns, err := conn.NewServer(conn.ServerOptions{Handler: server.NewDoor(core), Admit: admitAll})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "addr"+life), []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	return ns.Serve(l)
}

func TestS3_24_AServerIsKilledAndStartedAgain(t *testing.T) {
	for _, policy := range []journal.Policy{journal.Process, journal.Batch, journal.Each} {
		for _, idempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, idempotent %t", policy, idempotent), func(t *testing.T) { restart(t, policy, idempotent) })
		}
	}
}

func restart(t *testing.T, policy journal.Policy, idempotent bool) {
	dir := t.TempDir()
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return string(b)
	}
	var life atomic.Int32
	addr := func() string { return read(fmt.Sprint("addr", life.Load())) }
	start := func() *process {
		p := runChild(t, "serve", dir, fmt.Sprint(int(policy)), fmt.Sprint(life.Add(1)))
		t.Cleanup(p.kill)
		eventually(t, "the server listens", func() bool { return addr() != "" })
		return p
	}
	first := start()
	proxy := behind(t, addr)
	o := quick()
	o.Session.FailoverAfter = time.Minute
	c := newClient(t, o, conn.Endpoint{ID: "a", TCP: proxy.Addr()})
	ask(soon(t), c, "do", "before").is(t, session.OK, session.Executed)
	proxy.Delay(300 * time.Millisecond)
	ends := map[string]chan *Call{}
	for _, name := range []string{"done", "hang", "queued"} {
		ends[name] = make(chan *Call, 1)
		c.Start(soon(t), &Call{Method: "do", Args: []byte(name), Idempotent: idempotent}, func(u *Call) { ends[name] <- u })
	}
	eventually(t, "the second hangs", func() bool { return strings.Contains(read("truth"), "hang") })
	time.Sleep(50 * time.Millisecond) // the end of the first is in the journal; its reply is on its way for 300 ms
	first.kill()
	proxy.Reset()
	proxy.Delay(0)
	start()
	(<-ends["done"]).is(t, session.OK, session.Executed)
	if u := <-ends["hang"]; idempotent {
		u.is(t, session.OK, session.Executed)
	} else {
		u.is(t, session.Lost, session.Indeterminate)
	}
	(<-ends["queued"]).is(t, session.OK, session.Executed)
	runs := strings.Split(strings.TrimSpace(read("truth")), "\n")
	slices.Sort(runs)
	want := []string{"before in life 1", "done in life 1", "hang in life 1", "queued in life 2"}
	if idempotent { // their ends are not journalled: the first runs again, unless its reply was faster
		runs = slices.DeleteFunc(runs, func(r string) bool { return r == "done in life 2" })
		want = []string{"before in life 1", "done in life 1", "hang in life 1", "hang in life 2", "queued in life 2"}
	}
	if !slices.Equal(runs, want) {
		t.Errorf("ran %q, want %q", runs, want)
	}
}
