package calls

import (
	"flag"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

// clientNetwork is what flags and the environment say of a client's connections.
func clientNetwork(t *testing.T, args ...string) (*Network, error) {
	t.Helper()
	var n Network
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	n.RegisterClient(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	said := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { said[f.Name] = true })
	return &n, n.Complete(func(name string) bool { return said[name] })
}

// TestS4_16_ClientsHeedTheFlagAndTheEnvironment: the flag comes before the variables, ours before
// its aliases; what is no time is an error at once.
func TestS4_16_ClientsHeedTheFlagAndTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, flag string
		env        map[string]string
		want       time.Duration // of the client; negative: never
		err        string
	}{
		{"nothing is said", "", nil, 30 * time.Second, ""},
		{"the flag", "--idle-timeout=2m", map[string]string{"RPC_IDLE_TIMEOUT": "7"}, 2 * time.Minute, ""},
		{"the flag says never", "--idle-timeout=0", nil, -1, ""},
		{"a variable", "", map[string]string{"RPC_IDLE_TIMEOUT": "45"}, 45 * time.Second, ""},
		{"its alias", "", map[string]string{"XOSCAR_IDLE_TIMEOUT": "1m"}, time.Minute, ""},
		{"the alias says never", "", map[string]string{"XOSCAR_IDLE_TIMEOUT": "0"}, -1, ""},
		{"the one that all flags have", "", map[string]string{"RPCPOOL_IDLE_TIMEOUT": "9s", "RPC_IDLE_TIMEOUT": "7"}, 9 * time.Second, ""},
		{"no time", "", map[string]string{"RPC_IDLE_TIMEOUT": "soon"}, 0, `RPC_IDLE_TIMEOUT="soon": want seconds or a duration such as 1m30s, 0 for never`},
		{"less than never", "--idle-timeout=-1s", nil, 0, "--idle-timeout: -1s is negative; 0 is never"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, v := range c.env {
				t.Setenv(name, v)
			}
			var args []string
			if c.flag != "" {
				args = []string{c.flag}
			}
			n, err := clientNetwork(t, args...)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for what, options := range map[string]func() (rpc.ClientOptions, error){"servers": n.Client, "the registry": n.Registry} {
				if o, err := options(); err != nil || o.IdleTimeout != c.want {
					t.Errorf("of %s: %v, %v; want %v", what, o.IdleTimeout, err, c.want)
				}
			}
		})
	}
}

// TestAnIdleConnectionOfAClientIsClosed: and the next call makes another.
func TestAnIdleConnectionOfAClientIsClosed(t *testing.T) {
	r := newRig(t, Options{})
	n, err := clientNetwork(t, "--idle-timeout=20ms")
	if err != nil {
		t.Fatal(err)
	}
	o, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	c, err := rpc.Dial(o, "unix:"+r.unix)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if got, err := rpc.Call[any](t.Context(), c, "echo", "x"); err != nil || got != "x" {
			t.Fatalf("%v, %v", got, err)
		}
		eventually(t, "it is closed", func() bool { return c.Counts().Conns == 0 })
	}
	if n := c.Counts().Sockets; n.Reaped != 2 || n.Dials != 2 {
		t.Errorf("%+v", n)
	}
}
