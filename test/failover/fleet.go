//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/test/internal/proc"
)

// fleet is the servers in the pods: one `rpcpool serve` for each pod that runs.
type fleet struct {
	programs, dir string
	tracker       string // address
	done          sync.WaitGroup

	mu      sync.Mutex
	servers map[types.UID]*server
	deleted []string // pods
	wrong   []string
	closing bool
}

// server is the process of a pod.
type server struct {
	pod, log string
	cmd      *exec.Cmd

	mu         sync.Mutex
	address    string
	registered time.Time // last
}

func newFleet(programs, dir, tracker string) *fleet {
	return &fleet{programs: programs, dir: dir, tracker: tracker, servers: map[types.UID]*server{}}
}

// running starts the server of a pod that runs.
func (f *fleet) running(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.servers[pod.UID] != nil || f.closing {
		return
	}
	s := &server{pod: pod.Name, log: filepath.Join(f.dir, pod.Name+".log")}
	f.servers[pod.UID] = s
	if err := f.start(s, string(pod.UID)); err != nil {
		f.wrong = append(f.wrong, err.Error())
	}
}

// deleting stops the server of a pod that goes.
func (f *fleet) deleting(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return
	}
	f.deleted = append(f.deleted, pod.Name)
	if s := f.servers[pod.UID]; s != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
}

// start starts a server and reads its log.
func (f *fleet) start(s *server, uid string) error {
	s.cmd = exec.Command(filepath.Join(f.programs, proc.CLI), "serve", //nolint:noctx // it is ended by its id
		"--key", poolName, "--listen", "127.0.0.1:0", "--tracker", f.tracker, "--name", s.pod, "--instance", uid,
		"--log-format", "json", "--", filepath.Join(f.programs, proc.Worker), "--test-functions")
	s.cmd.Env = append(os.Environ(), "TMPDIR="+f.dir)
	s.cmd.SysProcAttr = proc.ChildAttr()
	out, err1 := s.cmd.StdoutPipe()
	said, err2 := s.cmd.StderrPipe()
	log, err3 := os.Create(s.log)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("server of %s: %w", s.pod, err)
	}
	if err := s.cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("server of %s: %w", s.pod, err), log.Close())
	}
	f.done.Go(func() {
		var streams sync.WaitGroup
		streams.Go(func() { s.hear(out) })
		s.read(io.TeeReader(said, log))
		streams.Wait()
		err := errors.Join(s.cmd.Wait(), log.Close())
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil || !f.closing {
			f.wrong = append(f.wrong, fmt.Sprintf("server of %s ended (%s): %v\n%s", s.pod, s.cmd.ProcessState, err, tail(s.log)))
		}
	})
	return nil
}

// hear learns the address from what the server prints: "serving KEY on ADDRESS".
func (s *server) hear(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), " on "); ok {
			s.mu.Lock()
			s.address = address
			s.mu.Unlock()
		}
	}
}

// read learns from the log when the server registers.
func (s *server) read(log io.Reader) {
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		var entry struct {
			Msg string `json:"msg"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "registered with the tracker" {
			s.mu.Lock()
			s.registered = time.Now()
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// registeredSince is when the last server registered; ok is false if not all of
// them have since then.
func (f *fleet) registeredSince(since time.Time) (last time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.servers {
		s.mu.Lock()
		at := s.registered
		s.mu.Unlock()
		if at.Before(since) {
			return last, false
		}
		if at.After(last) {
			last = at
		}
	}
	return last, true
}

// addresses of all servers.
func (f *fleet) addresses() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.servers {
		s.mu.Lock()
		list = append(list, s.address)
		s.mu.Unlock()
	}
	return list
}

// finish returns the pods that were deleted, and what went wrong; from now on
// pods may go.
func (f *fleet) finish() (deleted, wrong []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	return f.deleted, f.wrong
}

// close ends all servers in order.
func (f *fleet) close(ctx context.Context) error {
	f.finish()
	f.mu.Lock()
	for _, s := range f.servers {
		if s.cmd.Process != nil {
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); f.done.Wait() }()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("not all servers ended within %s", endTime)
		f.mu.Lock()
		for _, s := range f.servers {
			if s.cmd.Process != nil {
				_ = s.cmd.Process.Kill()
			}
		}
		f.mu.Unlock()
		<-ended
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) > 0 {
		err = errors.Join(err, errors.New(strings.Join(f.wrong, "\n")))
	}
	return err
}
