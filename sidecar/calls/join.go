package calls

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

// JoinOptions say what a server is at a registry. Tracker must be set; the zero value of
// each other field means its default.
type JoinOptions struct {
	Tracker   string            // HOST:PORT of the registry
	Name      string            // of the node: no other may have it. Default: the address that it is reached at
	Service   string            // that it serves. Default "calls"
	Server    uint64            // its id among those of the service, below 2^32. Default: the registry gives one
	Advertise string            // HOST or HOST:PORT that clients are told to connect to. Default: the listener's, or that which this machine has towards the tracker
	Fence     bool              // whoever has lost his lease ends what runs. Default: it goes on
	Client    rpc.ClientOptions // of the registry

	registrar registry.RegistrarOptions // times, for tests
}

// defaultService is what a server is one of, if nothing is said.
const defaultService = "calls"

func (j *JoinOptions) fill() error {
	if j.Service == "" {
		j.Service = defaultService
	}
	if _, port, err := net.SplitHostPort(j.Tracker); err != nil {
		return fmt.Errorf("--tracker: address %q: want HOST:PORT: %w", j.Tracker, err)
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("--tracker: address %q: %q is not a port (1 to 65535)", j.Tracker, port)
	}
	if j.Server >= registry.FirstAutomatic {
		return fmt.Errorf("--server-id: %d is not below %d", j.Server, uint64(registry.FirstAutomatic))
	}
	if strings.Contains(j.Advertise, "/") {
		return fmt.Errorf("--advertise: %q: want HOST or HOST:PORT", j.Advertise)
	}
	return nil
}

// register adds the flags of a registry to a flag set.
func (j *JoinOptions) register(flags *flag.FlagSet) {
	flags.StringVar(&j.Tracker, "tracker", "", "`HOST:PORT` of the tracker whose registry tells clients of this server; empty: none")
	flags.StringVar(&j.Advertise, "advertise", "", "`HOST` or HOST:PORT that clients are told to connect to; empty: the address that this machine has towards the tracker")
	flags.StringVar(&j.Name, "name", "", "`name` of this server that no other has, such as its pod's; empty: its address")
	flags.StringVar(&j.Service, "service", defaultService, "`name` by which clients find this server, and others like it, at the tracker")
	flags.BoolVar(&j.Fence, "fence", false, "end what runs when the registry has not been heard of for 15 s, so that clients can be told that it has ended; false: calls go on without the registry")
	flags.Uint64Var(&j.Server, "server-id", 0, "`number` of this server among those of the service; 0: the tracker gives one")
}

// Join returns how the server is to join a registry, nil if it is not. An error names the
// flag that is wrong.
func (f *Flags) Join() (*JoinOptions, error) {
	j := f.join
	if j.Tracker == "" {
		return nil, f.joinsNothing()
	}
	if err := f.completeNetwork(new(Options)); err != nil {
		return nil, err
	}
	var err error
	if j.Client, err = f.network.Registry(); err != nil {
		return nil, err
	}
	return &j, j.fill()
}

// joinsNothing returns an error if something is said of a registry, and there is none:
// whoever wants to be fenced must not believe that he is.
func (f *Flags) joinsNothing() (err error) {
	f.set.Visit(func(g *flag.Flag) {
		switch g.Name {
		case "advertise", "name", "service", "fence", "server-id":
			if g.Value.String() != g.DefValue {
				err = fmt.Errorf("--%s: is of a registry, and there is none without --tracker", g.Name)
			}
		}
	})
	return err
}

// endpoints is where clients reach the listeners.
func (j *JoinOptions) endpoints(ctx context.Context, listeners []net.Listener) (at registry.Endpoints, err error) {
	for _, l := range listeners {
		switch where := l.Addr().String(); {
		case l.Addr().Network() != "unix":
			if at.TCP, err = j.advertised(ctx, where); err != nil {
				return at, err
			}
		case strings.HasPrefix(where, "@"):
			at.Unix = where
		default:
			if at.Unix, err = filepath.Abs(where); err != nil {
				return at, fmt.Errorf("path of the socket: %w", err)
			}
		}
	}
	if at.Unix != "" {
		at.Boot = BootID()
	}
	return at, nil
}

// advertised is the address by which others reach a listener's.
func (j *JoinOptions) advertised(ctx context.Context, listens string) (string, error) {
	if _, _, err := net.SplitHostPort(j.Advertise); err == nil {
		return j.Advertise, nil
	}
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return "", fmt.Errorf("listener's address: %w", err)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case j.Advertise != "":
		host = strings.Trim(j.Advertise, "[]")
	case err != nil || ip.IsUnspecified():
		if host, err = towards(ctx, j.Tracker); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(host, port), nil
}

// towards is the address that this machine has towards another one. Nothing is sent.
func towards(ctx context.Context, address string) (string, error) {
	c, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return "", fmt.Errorf("this machine's address towards the tracker (--advertise): %w", err)
	}
	defer func() { _ = c.Close() }()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return "", errors.Join(errors.New("this machine's address towards the tracker (--advertise)"), err)
	}
	return host, nil
}

// BootID is that of this machine, as it is now: who has the same may use its Unix
// sockets. It is empty where the kernel does not say.
func BootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
