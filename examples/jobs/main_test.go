package main

import (
	"bytes"
	"context"
	"os"
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
	if err := master(ctx, 300, 3, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "300 jobs are done, 3 workers were killed, ") {
		t.Errorf("it prints %s", out.String())
	}
	t.Log(out.String())
}
