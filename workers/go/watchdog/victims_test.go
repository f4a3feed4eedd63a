package watchdog

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/workers/go/internal/stall"
	"rpcpool.dev/workers/go/watchdog/internal/native"
)

// Times of the victims. What disarms in time has much more of it than a machine
// under test takes.
const (
	soon  = 200 * time.Millisecond
	later = 500 * time.Millisecond
	long  = time.Hour
)

// survived is the exit status of a victim that ends by itself.
const survived = 7

// victims are programs that the tests start: the test binary, with the name of
// one of these. Each says on stdout when it expects to end.
func victims() map[string]func() {
	return map[string]func(){
		"is idle":                         func() { armed(soon); select {} },
		"has an exit handler and defers":  defers,
		"computes in Go":                  func() { armed(soon); computeInGo() },
		"computes in C":                   func() { armed(soon); forEach(2*procs(), native.Loop) },
		"holds locks":                     holdLocks,
		"stopped the world":               func() { armed(soon); stall.World(procs()) },
		"stopped the world, no thread":    func() { onlyBackstop(soon); stall.World(procs()) },
		"moves its deadline":              func() { armed(soon).start(later); select {} },
		"moves its deadline nearer":       func() { armed(long).start(soon); select {} },
		"serves a thousand sessions":      func() { inARow(1000).start(soon); select {} },
		"is over before it starts":        func() { armed(-time.Millisecond); select {} },
		"disarms":                         func() { armed(soon).Stop(); outlive(later) },
		"disarms and closes":              func() { w := armed(soon); w.Stop(); w.Close(); outlive(later) },
		"closes":                          func() { armed(soon).Close(); outlive(later) },
		"lets the backstop's time go by":  func() { onlyBackstop(soon).disarm(); outlive(later) },
		"takes turns with many callers":   func() { manyCallers().start(soon); select {} },
		"closes everybody's descriptors":  func() { w := armed(later); closeDescriptors(); w.start(soon); select {} },
		"closes descriptors and survives": func() { w := armed(soon); closeDescriptors(); w.Stop(); outlive(later) },
	}
}

type victim struct{ *Watchdog }

// threadNeedsNoTurn tells whether the thread acts without the Go scheduler. Then
// the victims' backstops are far away: whatever ends them, it was the thread.
const threadNeedsNoTurn = runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64")

func newVictim() victim {
	var o Options
	if threadNeedsNoTurn {
		o.Grace = 10 * time.Second
	}
	w, err := New(o)
	if err != nil {
		panic(err)
	}
	return victim{w}
}

func armed(timeout time.Duration) victim {
	v := newVictim()
	v.start(timeout)
	return v
}

// start arms and says until when; the last word counts.
func (v victim) start(timeout time.Duration) {
	fmt.Println(time.Now().Add(timeout).UnixNano())
	if err := v.Start(timeout); err != nil {
		panic(err)
	}
}

func onlyBackstop(timeout time.Duration) *backstop {
	b := new(backstop)
	if err := b.open(); err != nil {
		panic(err)
	}
	fmt.Println(time.Now().Add(timeout).UnixNano())
	if err := b.arm(timeout); err != nil {
		panic(err)
	}
	return b
}

func procs() int { return runtime.GOMAXPROCS(0) }

func forEach(n int, do func()) {
	for range n {
		go do()
	}
	select {}
}

// computeInGo has every P busy and many goroutines wait for their turn.
func computeInGo() {
	forEach(1000, func() {
		for i := uint64(1); i != 0; i++ {
		}
	})
}

func defers() {
	defer fmt.Println("a deferred function ran")
	native.TellAtExit()
	armed(soon)
	select {}
}

func holdLocks() {
	native.LockStdout()
	w := armed(soon)
	w.mu.Lock() // its own, too
	var mine sync.Mutex
	mine.Lock()
	forEach(procs(), mine.Lock)
}

func inARow(n int) victim {
	v := newVictim()
	for range n {
		if err := v.Start(long); err != nil {
			panic(err)
		}
		v.Stop()
	}
	return v
}

func manyCallers() victim {
	v := armed(long)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				_ = v.Start(long)
				v.Stop()
			}
		})
	}
	all.Wait()
	return v
}

// outlive is to be alive after d.
func outlive(d time.Duration) {
	time.Sleep(d)
	syscall.Exit(survived) // without the hooks of os.Exit, which coverage has things to say in
}
