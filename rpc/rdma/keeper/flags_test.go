package keeper

import (
	"flag"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/rdma/device"
)

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "",
		"--rdma-mode=auto":                  "",
		"--rdma-mode=perhaps":               `--rdma-mode: "perhaps": want off, auto or required`,
		"--rdma-silence=0s":                 "--rdma-silence: 0s is not within a minute",
		"--rdma-silence=61s":                "--rdma-silence: 1m1s is not within a minute",
		"--rdma-silence=3s --rdma-mode=off": "",
		"--rdma-traffic-class=-1":           "--rdma-traffic-class: -1 is not from 0 to 255",
		"--rdma-traffic-class=256":          "--rdma-traffic-class: 256 is not from 0 to 255",
		"--rdma-service-level=-1":           "--rdma-service-level: -1 is not from 0 to 15",
		"--rdma-service-level=16":           "--rdma-service-level: 16 is not from 0 to 15",
	} {
		for name, register := range map[string]func(*Flags, *flag.FlagSet){"server": (*Flags).Register, "client": (*Flags).RegisterClient} {
			var f Flags
			set := flag.NewFlagSet("", flag.ContinueOnError)
			register(&f, set)
			if err := set.Parse(strings.Fields(args)); err != nil {
				t.Fatal(err)
			}
			o, err := f.Options()
			switch {
			case want != "" && (err == nil || err.Error() != want):
				t.Errorf("%s, %s: %v, want %s", name, args, err, want)
			case want == "" && (err != nil || (o.Promise.Mode == device.Auto) != strings.Contains(args, "auto") || o.Promise.Count != 1):
				t.Errorf("%s, %s: %+v, %v", name, args, o, err)
			}
		}
	}
}

// TestPacketsAreInTheClassThatIsSaid: of a server's and of a client's device.
func TestPacketsAreInTheClassThatIsSaid(t *testing.T) {
	for args, want := range map[string][2]int{
		"": {},
		"--rdma-traffic-class=104 --rdma-service-level=3":  {104, 3},
		"--rdma-traffic-class=255 --rdma-service-level=15": {255, 15},
	} {
		for name, register := range map[string]func(*Flags, *flag.FlagSet){"server": (*Flags).Register, "client": (*Flags).RegisterClient} {
			var f Flags
			set := flag.NewFlagSet("", flag.ContinueOnError)
			register(&f, set)
			if err := set.Parse(strings.Fields(args)); err != nil {
				t.Fatal(err)
			}
			o, err := f.Options()
			if got := [2]int{o.Adapter.TrafficClass, o.Adapter.ServiceLevel}; err != nil || got != want || o.Adapter.Timeout != 14 {
				t.Errorf("%s, %s: %+v, %v", name, args, o.Adapter, err)
			}
		}
	}
}

// TestAPeersSilenceIsWhatDevicesKnow: eight times 4.096 us, doubled.
func TestAPeersSilenceIsWhatDevicesKnow(t *testing.T) {
	for silence, want := range map[time.Duration]int{time.Nanosecond: 1, Silence: 14, 2 * time.Second: 16, maxSilence: 21} {
		o := Patient(silence)
		if o.Timeout != want || o.Retries != 7 {
			t.Errorf("%s: %+v", silence, o)
		}
	}
}
