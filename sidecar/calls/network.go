package calls

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
)

// Defaults of the time to connect: to servers, and to a registry, for which a lease waits.
const (
	connectServer   = 8 * time.Second
	connectRegistry = 2 * time.Second
)

// Network is how connections are made and kept, as flags of a server or a client say.
type Network struct {
	TCP        conn.TCP
	Connect    time.Duration
	Idle       time.Duration // of clients' connections: closed after it; 0: never
	Bind       string        // address of this machine from which others are dialled; empty: any
	Files      TLSFiles      // of connections of calls
	Tracker    TLSFiles      // of those to a tracker's registry
	TLS        bool          // of a client, although none of the files is said
	ServerName string        // of a client: what a server's certificate must be for; empty: the host that is dialled

	Token        TokenFile // of connections of calls
	TrackerToken TokenFile // of those to a tracker's registry

	Allow AllowFile // of a server

	Log *slog.Logger // for all files. Default: none

	set *flag.FlagSet
}

// idleTimeout is how long clients' connections may be idle, if nothing is said, and idleFlag is
// what says it.
const (
	idleTimeout = 30 * time.Second
	idleFlag    = "idle-timeout"
)

// envPrefix begins the variables that say what flags do not.
const envPrefix = "RPCPOOL_"

// register adds the flags of both sides.
func (n *Network) register(connect time.Duration, dialled, bind, ca, cert, token string) {
	n.set = flag.NewFlagSet("network", flag.ContinueOnError)
	n.set.DurationVar(&n.TCP.KeepAlive, "tcp-keepalive-time", 10*time.Second, "TCP: silence after which the kernel asks whether the peer is still there")
	n.set.DurationVar(&n.TCP.Interval, "tcp-keepalive-interval", 5*time.Second, "TCP: time between two such probes")
	n.set.IntVar(&n.TCP.Probes, "tcp-keepalive-probes", 2, "TCP: `probes` without an answer until a connection is dead; what was sent is waited for as long")
	n.set.DurationVar(&n.Connect, "connect-timeout", connect, "time to connect to "+dialled)
	n.set.StringVar(&n.Bind, "bind", "", bind)
	n.Files.Flags, n.Tracker.Flags = "--tls", "--tracker-tls"
	n.set.StringVar(&n.Files.CA, "tls-ca", "", ca)
	n.set.StringVar(&n.Files.Cert, "tls-cert", "", cert)
	n.set.StringVar(&n.Files.Key, "tls-key", "", "`FILE` with the key of --tls-cert, in PEM")
	n.Token.Flag, n.TrackerToken.Flag = "--token-file", "--tracker-token-file"
	n.set.StringVar(&n.Token.Path, "token-file", "", token)
	n.set.StringVar(&n.TrackerToken.Path, "tracker-token-file", "", "`FILE` whose first line is the token for the tracker's registry; it is read again when it changes; empty: none")
	n.set.StringVar(&n.Tracker.CA, "tracker-tls-ca", "", "`FILE` with certificates, in PEM: the tracker's registry must have one of these authorities; empty: no TLS to it")
	n.set.StringVar(&n.Tracker.Cert, "tracker-tls-cert", "", "`FILE` with the certificate for a registry that wants one, in PEM; empty: none")
	n.set.StringVar(&n.Tracker.Key, "tracker-tls-key", "", "`FILE` with the key of --tracker-tls-cert, in PEM")
}

// RegisterServer adds the flags of a server.
func (n *Network) RegisterServer(flags *flag.FlagSet) {
	n.register(connectRegistry, "the tracker", "`ADDRESS` of this machine from which the tracker is dialled; empty: any",
		"`FILE` with certificates, in PEM: clients over TCP must have one of these authorities; empty: any client may connect",
		"`FILE` with this server's certificate, in PEM: clients over TCP must speak TLS; it is read again when it changes; empty: no TLS",
		"`FILE` with tokens, one a line: clients must present one of them; it is read again when it changes; empty: any client may connect")
	n.set.StringVar(&n.Allow.Path, "allow-file", "", "`FILE` with rules, one a line: a name from a client's certificate, unix or *, and the methods that it may call; it is read again when it changes; empty: everybody may call everything")
	n.addTo(flags)
}

// RegisterClient adds the flags of a client.
func (n *Network) RegisterClient(flags *flag.FlagSet) {
	n.register(connectServer, "a server", "`ADDRESS` of this machine from which servers are dialled; empty: any",
		"`FILE` with certificates, in PEM: a server over TCP must have one of these authorities; empty: this machine's",
		"`FILE` with this client's certificate, in PEM, for servers that want one; empty: none",
		"`FILE` whose first line is the token for servers that want one; empty: none")
	n.set.DurationVar(&n.Idle, idleFlag, idleTimeout, "close a connection that nothing was outstanding on for this time; 0: never")
	n.set.BoolVar(&n.TLS, "tls", false, "speak TLS over TCP, also if none of the other --tls flags is there")
	n.set.StringVar(&n.ServerName, "tls-server-name", "", "`NAME` that a server's certificate must be for; empty: the host that is dialled")
	n.addTo(flags)
}

func (n *Network) addTo(flags *flag.FlagSet) {
	n.set.VisitAll(func(f *flag.Flag) { flags.Var(f.Value, f.Name, f.Usage) })
}

// Complete takes what no flag has said from the environment, and checks all: an error
// names the flag or the variable. --tls-ca is RPCPOOL_TLS_CA there. The idle timeout has two more
// names: RPC_IDLE_TIMEOUT, and XOSCAR_IDLE_TIMEOUT, which servers heed, too, as clients of a
// registry.
func (n *Network) Complete(said func(flag string) bool) (err error) {
	if err := fromEnvironment(n.set, said); err != nil {
		return err
	}
	if _, ours := os.LookupEnv(envPrefix + "IDLE_TIMEOUT"); !said(idleFlag) && (!ours || n.set.Lookup(idleFlag) == nil) {
		if n.Idle, err = client.IdleTimeoutFromEnv(os.LookupEnv); err != nil {
			return err //nolint:wrapcheck // it names the variable
		}
		n.Idle = max(n.Idle, 0)
	}
	return n.check()
}

// fromEnvironment sets the flags that were not said from the environment.
func fromEnvironment(set *flag.FlagSet, said func(flag string) bool) (err error) {
	set.VisitAll(func(f *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && !said(f.Name) {
			if bad := f.Value.Set(v); bad != nil {
				err = errors.Join(err, fmt.Errorf("%s: %q: %w", name, v, bad))
			}
		}
	})
	return err
}

func (n *Network) check() error {
	for _, c := range []struct {
		flag string
		tcp  conn.TCP
	}{
		{"--tcp-keepalive-time", conn.TCP{KeepAlive: orNegative(n.TCP.KeepAlive)}},
		{"--tcp-keepalive-interval", conn.TCP{Interval: orNegative(n.TCP.Interval)}},
		{"--tcp-keepalive-probes", conn.TCP{Probes: orNegative(n.TCP.Probes)}},
	} {
		if err := c.tcp.Check(); err != nil {
			return fmt.Errorf("%s: %w", c.flag, err)
		}
	}
	if n.Idle < 0 {
		return fmt.Errorf("--idle-timeout: %s is negative; 0 is never", n.Idle)
	}
	if n.Connect <= 0 {
		return fmt.Errorf("--connect-timeout: %s is not a positive duration", n.Connect)
	}
	if _, err := netip.ParseAddr(n.Bind); n.Bind != "" && err != nil {
		return fmt.Errorf("--bind: %q is not an address", n.Bind)
	}
	n.Files.Log, n.Tracker.Log, n.Token.Log, n.TrackerToken.Log, n.Allow.Log = n.Log, n.Log, n.Log, n.Log, n.Log
	return errors.Join(n.Files.check(), n.Tracker.check(), n.Token.check(), n.TrackerToken.check())
}

// orNegative keeps zero, which nobody wants to say, from meaning the default.
func orNegative[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// dialer makes sockets that come from the address.
func (n *Network) dialer() conn.Dial {
	if n.Bind == "" {
		return nil
	}
	ip, _ := netip.ParseAddr(n.Bind) // it has been checked
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip.AsSlice(), Zone: ip.Zone()}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if network == "unix" {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		return from.DialContext(ctx, network, address)
	}
}

func (n *Network) plain() rpc.ClientOptions {
	idle := n.Idle
	if idle == 0 {
		idle = -1 // never, to a pool
	}
	return rpc.ClientOptions{IdleTimeout: idle, Connect: n.Connect, Dial: n.dialer(), Conn: conn.Options{TCP: n.TCP}}
}

// Registry are the options of a client of a tracker's registry.
func (n *Network) Registry() (o rpc.ClientOptions, err error) {
	o = n.plain()
	o.Token = n.TrackerToken.Present
	if n.Tracker.CA != "" || n.Tracker.Cert != "" {
		o.TLS, err = n.Tracker.client("")
	}
	return o, err
}

// Client are the options of a client of servers.
func (n *Network) Client() (o rpc.ClientOptions, err error) {
	o = n.plain()
	o.Token = n.Token.Present
	if n.TLS || n.Files.CA != "" || n.Files.Cert != "" || n.ServerName != "" {
		o.TLS, err = n.Files.client(n.ServerName)
	}
	return o, err
}

// completeNetwork gives a server what its flags and the environment say of the network.
func (f *Flags) completeNetwork(o *Options) (err error) {
	said := map[string]bool{}
	f.set.Visit(func(f *flag.Flag) { said[f.Name] = true })
	if err := f.network.Complete(func(name string) bool { return said[name] }); err != nil {
		return err
	}
	o.TCP = f.network.TCP
	if o.TLS, err = f.network.Files.Server(); err != nil {
		return err
	}
	if o.Token, err = f.network.Token.Demand(); err != nil {
		return err
	}
	o.Allow, err = f.network.Allow.Allow()
	return err
}
