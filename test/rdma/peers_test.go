//go:build linux

package main

import (
	"strings"
	"testing"
)

const latencyTable = `---------------
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
 8       500          34.32          4741.25      65.49    	       81.43       	215.73 		383.00  		4741.25
---------------`

const bandwidthTable = ` #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]
 1048576    40               98.02              52.78  		   0.000053`

func TestFiguresOfPeers(t *testing.T) {
	for name, c := range map[string]struct {
		read func([]string) ([]outcome, error)
		text string
		want string
	}{
		"pingpong":  {pingpong, "4096000 bytes in 1.22 seconds = 26.91 Mbit/sec\n500 iters in 1.22 seconds = 2435.07 usec/iter", "2435.07 us"},
		"latency":   {readLatency, latencyTable, "65.49 us"},
		"bandwidth": {readBandwidth, bandwidthTable, "52.78 MiB/s"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(c.text, "\n")
			got, err := c.read(lines)
			if err != nil || len(got) != 1 || got[0].figure != c.want {
				t.Errorf("%+v, %v", got, err)
			}
			if got, err := c.read(lines[:len(lines)/2]); err == nil {
				t.Errorf("half of it: %+v", got)
			}
		})
	}
}
