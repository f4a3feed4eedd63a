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

// TestAPeersSilenceIsWhatDevicesKnow: eight times 4.096 us, doubled.
func TestAPeersSilenceIsWhatDevicesKnow(t *testing.T) {
	for silence, want := range map[time.Duration]int{time.Nanosecond: 1, Silence: 14, 2 * time.Second: 16, maxSilence: 21} {
		o := Patient(silence)
		if o.Timeout != want || o.Retries != 7 {
			t.Errorf("%s: %+v", silence, o)
		}
	}
}
