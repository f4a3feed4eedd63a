//go:build linux

package main

import (
	"fmt"
	"io"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// report prints how things went, as they go.
type report struct {
	out   io.Writer
	good  int
	wrong int
}

// say prints an outcome, below the step or the scenario that it is of.
func (r *report) say(of string, o outcome) {
	verdict := "ok"
	if o.failed {
		verdict = "FAIL"
		r.wrong++
	} else {
		r.good++
	}
	took := ""
	if o.took != 0 {
		took = fmt.Sprintf("%.2f s", o.took.Seconds())
	}
	fmt.Fprintf(r.out, "%-4s  %-44s %8s  %s\n", verdict, of+": "+o.name, took, o.figure)
}

// failed prints why something has failed.
func (r *report) failed(of string, err error) {
	r.wrong++
	fmt.Fprintf(r.out, "FAIL  %s: %v\n", of, err)
}

// end prints the verdict.
func (r *report) end(logs string) error {
	fmt.Fprintf(r.out, "%d succeeded, %d failed; consoles are in %s\n", r.good, r.wrong, logs)
	fmt.Fprintln(r.out, "tested on soft-RoCE between two virtual machines, not on hardware")
	if r.wrong > 0 {
		return errFailed
	}
	return nil
}

// follower reads the console of a machine that has the clients.
type follower struct {
	scenario scenario
	report   *report
	done     int      // steps
	client   []string // what it has printed in this step
}

func (f *follower) line(l plan.Line) {
	switch l.Kind {
	case plan.Begin:
		f.client = nil
	case plan.Client:
		f.client = append(f.client, l.Text)
	case plan.End:
		f.end(l.Took)
	case plan.Failed:
		for _, text := range f.client {
			fmt.Fprintf(f.report.out, "      %s\n", text)
		}
	}
}

// end tells how a step went.
func (f *follower) end(took time.Duration) {
	s := f.scenario.steps[f.done]
	f.done++
	of := f.scenario.name + ": " + s.Name
	outcomes, err := s.figures(f.client)
	if err != nil {
		f.report.failed(of, err)
		return
	}
	for _, o := range outcomes {
		if len(outcomes) == 1 {
			o.took = took
		}
		f.report.say(of, o)
	}
}
