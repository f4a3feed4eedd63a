package conn

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"rpcpool.dev/rpc/frame"
)

func TestCallsOfAllSizesComeBackWhole(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, crc := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, checksums %v", network, crc), func(t *testing.T) {
				a, b := sockets(t, network)
				client := newCaller()
				c, _ := join(t, a, b, client, &echo{}, Options{Checksum: crc})
				var wg sync.WaitGroup
				for i, size := range []int{0, 1, 64, LongBody - 1, LongBody, 16 << 10, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20, 5<<20 + 3} {
					for p := frame.PriorityInteractive; p < frame.Priorities; p++ {
						wg.Go(func() {
							body := bytes.Repeat([]byte{byte(i), byte(p), 7}, size/3+1)[:size]
							got, err := client.call(t.Context(), c, p, body)
							if err != nil || !bytes.Equal(got, body) {
								t.Errorf("%d bytes: got %d, %v", size, len(got), err)
							}
						})
					}
				}
				wg.Wait()
			})
		}
	}
}
