package visit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/workers/go/client"
)

// Steps of a visit.
const (
	Asked   = "asked"
	Granted = "granted"
	Working = "working" // a call has been answered
	Done    = "done"
	Lost    = "lost"
	Refused = "refused"
)

// Line is one step.
type Line struct {
	Visit  int       `json:"visit"` // from 0
	Step   string    `json:"step"`
	At     time.Time `json:"at"`
	Server string    `json:"server,omitempty"` // host:port
	Worker int       `json:"worker,omitempty"` // the process id in its container
	Error  string    `json:"error,omitempty"`  // what the client was told
}

// Plan is what a visitor does.
type Plan struct {
	Tracker string // host:port
	Key     string
	// Call is the function that holds a session, with the seconds as its argument,
	// if that is not 0.
	Call string
	// Holds are how long the sessions are held, one after the other. The last one goes
	// on for ever if Repeat.
	Holds  []time.Duration
	Repeat bool
	// Timeout is how long the server lets a session last; 0 leaves it to the server.
	Timeout time.Duration
}

// retry is between a refused visit and the next one.
const retry = 50 * time.Millisecond

// reach bounds the way to a server, once it is granted.
const reach = 5 * time.Second

// Run makes the visits and writes their steps. It fails only if it cannot write; a
// session that is lost is what it is there to tell of.
func Run(ctx context.Context, p Plan, out io.Writer) error {
	lines := json.NewEncoder(out)
	for i := 0; ctx.Err() == nil; i++ {
		hold := p.Holds[min(i, len(p.Holds)-1)]
		tell := func(line Line) error {
			line.Visit, line.At = i, time.Now()
			if err := lines.Encode(line); err != nil {
				return fmt.Errorf("tell: %w", err)
			}
			return nil
		}
		if err := p.visit(ctx, hold, tell); err != nil {
			return err
		}
		if !p.Repeat && i == len(p.Holds)-1 {
			return nil
		}
	}
	return nil
}

// visit is one session, however often it has to be asked for.
func (p *Plan) visit(ctx context.Context, hold time.Duration, tell func(Line) error) error {
	if err := tell(Line{Step: Asked}); err != nil {
		return err
	}
	s, err := p.enter(ctx, tell)
	if s == nil {
		return err
	}
	defer s.Close() //nolint:errcheck // it was used
	if err := tell(Line{Step: Granted, Server: s.Server()}); err != nil {
		return err
	}
	worker, err := s.Call(ctx, "test.pid")
	if err == nil {
		id, _ := worker.(int64)
		if err := tell(Line{Step: Working, Server: s.Server(), Worker: int(id)}); err != nil {
			return err
		}
		err = p.hold(ctx, s, hold)
	}
	if err != nil {
		return tell(Line{Step: Lost, Server: s.Server(), Error: err.Error()})
	}
	return tell(Line{Step: Done, Server: s.Server()})
}

// enter asks until it has a session, or the context has ended.
func (p *Plan) enter(ctx context.Context, tell func(Line) error) (*client.Session, error) {
	for {
		s, err := client.Request(ctx, p.Tracker, p.Key, client.Options{Timeout: p.Timeout, DialTimeout: reach, MaxRetry: 1})
		if err == nil {
			return s, nil
		}
		if err := tell(Line{Step: Refused, Error: err.Error()}); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(retry):
		}
	}
}

// hold keeps the session busy.
func (p *Plan) hold(ctx context.Context, s *client.Session, hold time.Duration) error {
	if hold == 0 {
		return nil
	}
	var err error
	if argument := argument(p.Call, hold); argument == nil {
		_, err = s.Call(ctx, p.Call)
	} else {
		_, err = s.Call(ctx, p.Call, argument)
	}
	return err //nolint:wrapcheck // it is what the client is told
}

// argument of the calls that have one: seconds to sleep, or more bytes than
// a container of the tests may have (and fewer than the kernel refuses to promise).
func argument(call string, hold time.Duration) any {
	switch call {
	case "test.sleep":
		return hold.Seconds()
	case "test.hog":
		return int64(1) << 30
	}
	return nil
}
