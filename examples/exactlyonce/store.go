package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"syscall"

	"rpcpool.dev/rpc"
)

// store is a sum in a file that several processes use. A line is a transaction: what is added,
// and the record of the call that adds it. So one is never there without the other. A line
// that is not whole is one of a process that died: the next cuts it off.
type store struct {
	mu      sync.Mutex
	f       *os.File
	read    int64 // bytes
	sum     int64
	records map[rpc.XID]transaction
}

type transaction struct {
	by     int64 // 0: of a call that will not take place
	record rpc.Record
}

var errRecorded = errors.New("there is a record of this call")

func openStore(path string) (*store, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &store{f: f, records: map[rpc.XID]transaction{}}, nil
}

// locked calls f while nobody else has the file, when all that is in it is known.
func (s *store) locked(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := syscall.Flock(int(s.f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", s.f.Name(), err)
	}
	defer syscall.Flock(int(s.f.Fd()), syscall.LOCK_UN) //nolint:errcheck // it ends with the process, at the latest
	if err := s.refresh(); err != nil {
		return err
	}
	return f()
}

// refresh reads what others have written, some of whom may have died before the disk had it.
func (s *store) refresh() error {
	rest, err := io.ReadAll(io.NewSectionReader(s.f, s.read, 1<<40))
	if err == nil && len(rest) > 0 {
		err = s.f.Sync()
	}
	for err == nil {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		t, bad := parse(line)
		if !whole || bad != nil {
			return s.f.Truncate(s.read)
		}
		s.note(&t)
		s.read += int64(len(line)) + 1
		rest = more
	}
	return err
}

func (s *store) note(t *transaction) {
	s.records[t.record.XID] = *t
	s.sum += t.by
}

// commit writes a transaction, unless its call has one already. It has taken place when
// the disk has it.
func (s *store) commit(t *transaction) error {
	if _, there := s.records[t.record.XID]; there {
		return errRecorded
	}
	line := fmt.Appendf(nil, "%x %d %d %x", t.record.XID.Session[:], t.record.XID.Seq, t.by, t.record.Reply)
	line = fmt.Appendf(line, " %08x\n", crc32.ChecksumIEEE(line))
	if _, err := s.f.Write(line); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.note(t)
	s.read += int64(len(line))
	return nil
}

func parse(line []byte) (t transaction, err error) {
	var session, reply string
	var sum uint32
	id := &t.record.XID
	if _, err = fmt.Sscanf(string(line), "%s %d %d %s %x", &session, &id.Seq, &t.by, &reply, &sum); err != nil {
		return t, err
	}
	if crc32.ChecksumIEEE(line[:len(line)-9]) != sum || len(session) != 2*len(id.Session) {
		return t, errors.New("line is damaged")
	}
	_, _ = hex.Decode(id.Session[:], []byte(session)) // the checksum says that it is one
	t.record.Reply, err = hex.DecodeString(reply)
	return t, err
}
