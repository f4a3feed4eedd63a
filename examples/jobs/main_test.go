package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("JOBS_WORKER") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestS3_37_AllJobsAreDoneAlthoughWorkersDie(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := master(ctx, 1000, 3, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	rest, done := strings.CutPrefix(out.String(), "1000 jobs are done, 10 workers were killed\nrun twice, as DoJob is declared idempotent: ")
	twice := strings.Fields(rest)
	if !done || len(twice) == 0 { // ten workers die with eight jobs under way
		t.Errorf("it prints %s", out.String())
	}
	for _, job := range twice {
		if n, err := strconv.Atoi(job); err != nil || n < 0 || n >= 1000 {
			t.Errorf("job %q: %v", job, err)
		}
	}
}
