package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// want is what play.py says.
const want = `# calls
echo: b'hello'
as CBOR: b'Ehello'
a struct: b'\xa2aX\x02aY\x01'
bytes of a struct: b'{1 2}'
another codec: Invalid, NotExecuted, -1, 'arguments: codec 0, want 2 (cbor)', b''
no such method: Unimplemented, NotExecuted, -1, 'there is no such method', b''
a failure: Failed, Executed, 0, 'it fails', b'\x07becausedetail'
one way: b''
that ran: b'2'
200 calls: 200 results
# deadlines and cancels
too late: DeadlineExceeded, NotExecuted, 0, '', b''
overrun: DeadlineExceeded, Executed, 0, 'context deadline exceeded', b''
cancelled: Canceled, Executed, 0, 'context canceled', b''
cancelled before it came: Canceled, NotExecuted, 0, '', b''
given up: Canceled, Indeterminate, 0, 'was given up', b'' b'next' True
runs so far: b'205'
# long messages and streams
4 MiB: True
50 of 200 KiB: True
answered pings: True
too long: Invalid, NotExecuted, 0, 'longer than the server takes', b''
items: [b'<one', b'<one', b'<two', b'<two'] b''
many items: 8097152 b''
a stream fails: [] Failed, Executed, 0, 'stopped', b'\x07stopped'
a stream in another codec: Invalid, NotExecuted, -1, 'arguments: codec 2, want 0 (raw)', b''
no stream: Invalid, NotExecuted, -1, 'method is a stream', b''
a stream of a call: Invalid, NotExecuted, -1, 'method is no stream', b''
# connections that are lost
ran on: b'released'
ended meanwhile: b'released'
ran: 2
items: b'one' b'one'
a broken stream: Failed, Executed, 0, 'connection is cut', b''
# sessions
expired: Expired, Indeterminate, 0, 'the session has expired', b''
the next session: b'hello'
a wrong secret: b'in a session of its own' True
refused: (12, 'nobody is not let in')
a deadline in the header, and no until: b''
# what ends a connection, by the number of its reason
call id reused: 15
method not bound: 3
no session: 15
unknown type: 8
unknown extension: 9
compression: 5
checksum: 10
a long name: 6
a message: 7
closed, and again: b'hello'
`

// python finds the interpreter. On a CI machine it must be there.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal("CI has no python3: nobody knows whether docs/protocol.md is enough to write a client")
	case err != nil:
		t.Skip("no python3 on this machine")
	}
	return path
}

// TestAStrangersClientCallsTheServer plays a client that was written from docs/protocol.md alone.
func TestAStrangersClientCallsTheServer(t *testing.T) {
	interpreter := python(t)
	for name, listen := range map[string]string{
		"over TCP":           "127.0.0.1:0",
		"over a Unix socket": "unix:" + filepath.Join(t.TempDir(), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			address, ended := make(chan string, 1), make(chan error, 1)
			serving, stop := context.WithCancel(ctx)
			go func() { ended <- run(serving, listen, func(a string) { address <- a }) }()
			var stdout, stderr bytes.Buffer
			select {
			case a := <-address:
				play := exec.CommandContext(ctx, interpreter, "-B", "play.py", a)
				play.Stdout, play.Stderr = &stdout, &stderr
				if err := play.Run(); err != nil {
					t.Errorf("%v\n%s", err, &stderr)
				}
				if diff := cmp.Diff(want, stdout.String()); diff != "" {
					t.Errorf("what it says (-want +got)\n%s", diff)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			case err := <-ended:
				stop()
				t.Fatal(err)
			}
		})
	}
}
