//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/test/rdma/image"
	"rpcpool.dev/test/rdma/machine"
	"rpcpool.dev/test/rdma/plan"
)

// lab plays scenarios.
type lab struct {
	settings *settings
	image    image.Image
	files    map[string]image.File
	scratch  string
	report   *report
}

// play plays those that are wanted.
func (l *lab) play(ctx context.Context) error {
	known := false
	for _, s := range scenarios() {
		if l.settings.only != "" && l.settings.only != s.name {
			continue
		}
		known = true
		if err := l.scenario(ctx, s); err != nil {
			l.report.failed(s.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !known {
		return fmt.Errorf("-only: there is no scenario %q", l.settings.only)
	}
	return l.report.end(l.settings.out)
}

// scenario runs its machines at the same time; when one fails the other is stopped.
func (l *lab) scenario(ctx context.Context, s scenario) error {
	late := fmt.Errorf("not done within %s", l.settings.limit)
	ctx, cancel := context.WithTimeoutCause(ctx, l.settings.limit, late)
	defer cancel()
	var cables [2]*os.File
	if s.two {
		var err error
		if cables[0], cables[1], err = machine.Cable(); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range s.plans() {
		group.Go(func() error { return l.machine(ctx, s, p, i, cables[i]) })
	}
	return group.Wait()
}

// machine runs one. What clients print, and so how steps went, is told by the last one.
func (l *lab) machine(ctx context.Context, s scenario, p plan.Plan, number int, cable *os.File) (err error) {
	name := s.name
	cpus := 2
	if s.two {
		name = fmt.Sprintf("%s-%d", s.name, number+1)
		cpus = 1
	}
	m := machine.Machine{
		Name: name, Kernel: l.image.Kernel, Initrd: filepath.Join(l.scratch, name+".cpio"),
		CPUs: cpus, Cable: cable, Number: number, Each: func(plan.Line) {},
	}
	if !s.two || number == 1 {
		m.Each = (&follower{scenario: s, report: l.report}).line
	}
	files := map[string]image.File{"init": l.files["init"]}
	for _, program := range s.programs {
		files[program] = l.files[program]
	}
	text, err := p.Encode()
	if err != nil {
		return err
	}
	files[plan.File[1:]] = image.File{Perm: 0o644, Content: text}
	if err := l.image.WriteInitrd(m.Initrd, files); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(l.settings.out, name+".log"))
	if err != nil {
		return fmt.Errorf("console of %s: %w", name, err)
	}
	m.Log = log
	return errors.Join(machine.Run(ctx, m), log.Close())
}
