package promtest

import (
	"maps"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// Story is what happened to the servers of a key, as those saw it who made it happen.
type Story struct {
	// Labels of the servers; Namespace and Pool are empty where there is no Kubernetes.
	Namespace, Pool, Key string
	Servers              float64
	Since                time.Time // the first scrape

	// Devices are the sessions by pod and cause.
	Devices map[string]map[string]float64
	// Late sessions at most have ended by timeout though their client was content: it
	// had its answer and had not said goodbye.
	Late      float64
	Length    Range   // seconds, in which half of the sessions were over
	Longest   Range   // seconds, of the longest session
	Busy      Range   // seconds of all sessions together
	Waited    float64 // seconds, the longest wait for a server
	Queued    float64 // requests that waited at a time, at most
	Strangers float64 // who knocked and did not speak the protocol

	// Pools are all that there are, in PoolNamespace.
	PoolNamespace string
	Pools         map[string]Pool
}

// Pool is what became of a pool.
type Pool struct {
	NotReady         bool
	Offered, Missing float64
	Used             float64 // share of the servers that was in a session, at most
	Draining         float64 // servers that were told to go, at most
}

// ends are the sessions by cause, with all causes.
func (s Story) ends() map[string]float64 {
	sum := map[string]float64{}
	for _, cause := range supervise.Causes() {
		sum[string(cause)] = 0
	}
	for _, ends := range s.Devices {
		for cause, n := range ends {
			sum[cause] += n
		}
	}
	return sum
}

func (s Story) sessions() float64 { return total(s.ends()) }

func total(ends map[string]float64) (n float64) {
	for _, v := range ends {
		n += v
	}
	return n
}

// crashes are those of which the rules speak.
func crashes(ends map[string]float64) float64 {
	return ends[string(supervise.CauseCrashSignal)] + ends[string(supervise.CauseCrashExit)] + ends[string(supervise.CauseOOM)]
}

// counted compares sessions by cause with those of the story.
func (s Story) counted(got map[string]float64, same func(got, want float64) bool) bool {
	want := s.ends()
	if late := got[timeout] - want[timeout]; late > 0 && late <= s.Late {
		want[timeout], want[completed] = got[timeout], want[completed]+want[timeout]
		got[completed] += got[timeout] // who was late is among either
	}
	return len(got) == len(want) && maps.EqualFunc(got, want, same)
}

const (
	completed = string(supervise.CauseCompleted)
	timeout   = string(supervise.CauseTimeout)
)

func same(got, want float64) bool { return got == want }

// pools are some numbers of pools, of those that have one.
func (s Story) pools(number func(Pool) (float64, bool)) map[string]float64 {
	numbers := map[string]float64{}
	for name, p := range s.Pools {
		if n, ok := number(p); ok {
			numbers[name] = n
		}
	}
	return numbers
}

// tellsOf compares numbers of pools.
func (s Story) tellsOf(a Answer, number func(Pool) (float64, bool)) bool {
	return len(a) == len(a.of("namespace", s.PoolNamespace)) && maps.Equal(a.by("pool"), s.pools(number))
}
