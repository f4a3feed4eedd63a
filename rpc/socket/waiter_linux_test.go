package socket

import (
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhoIsAwakeIsNotWoken(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		happens := func() bool {
			var e [1]unix.EpollEvent
			n, _ := unix.EpollWait(c.rd.epoll(), e[:], 0)
			return n > 0
		}
		for range 3 {
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != nil { // may sleep
				t.Fatal(err)
			}
			if _, err := peer.Write([]byte("yz")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			if happens() {
				t.Fatal("the instance has something, although nobody sleeps")
			}
		}
	})
}

func TestWhatComesWakesWhoSleeps(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		for range 100 {
			done := readsOne(c)
			asleep(t, c, &c.rd)
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := soon(t, done, "a message"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What has come before somebody sleeps is no reason for the kernel to tell anybody, if it has told of it, or of
// what was there before it, to a sleep that had ended by then.
func TestWhatHasComeBeforeASleepEndsIt(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		for round := range 50 {
			if err := c.rd.control(c.rd.epoll(), unix.EPOLL_CTL_MOD, c.rd.events); err != nil { // as a deadline leaves it
				t.Fatal(err)
			}
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			for until := time.Now().Add(time.Millisecond); time.Now().Before(until); {
				runtime.Gosched() // the runtime hears of it, and nobody waits
			}
			ended := make(chan error, 1)
			go func() { ended <- c.rd.sleep() }()
			if err := soon(t, ended, "round "+strconv.Itoa(round)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Bytes that come one by one, while who reads is about to sleep or to wake up: the last of them is
// not waited for in vain.
func TestNoWakeIsLost(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		const rounds = 20_000
		seed := rand.Uint64()
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		read := make(chan int, 16)
		go func() {
			defer close(read)
			for {
				n, err := c.Read(make([]byte, 16))
				if err != nil {
					return
				}
				read <- n
			}
		}()
		defer func() {
			_ = c.Close()
			for range read { // until it has ended
			}
		}()
		for round := range rounds {
			bytes := 1 + random.IntN(4)
			for range bytes {
				if _, err := peer.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				for range random.IntN(200) {
					runtime.Gosched()
				}
			}
			for bytes > 0 {
				bytes -= soon(t, read, "round "+strconv.Itoa(round))
			}
		}
	})
}
