package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `image makes a container image of static Go programs, without a container engine,
and prints its reference with the digest.

Usage:
  image --tag REGISTRY/NAME:TAG [--out FILE.tar] [--push] [--sbom FILE.json] [flags] PROGRAM...

Example:
  image --tag registry.example.com/rpcpool:v0.1.0 --out rpcpool.tar --sbom rpcpool.cdx.json bin/*
  ctr --namespace k8s.io images import rpcpool.tar

Flags:
  --tag REGISTRY/NAME:TAG  what the image is called, in full
  --out FILE.tar           write it to a file, for ctr images import, kind load
                           image-archive, podman load, docker load
  --push                   push it to its registry, as whom docker login or podman
                           login says; over HTTP only to this machine
  --sbom FILE.json         write a bill of materials (CycloneDX): programs, modules
  --entrypoint WORDS       what a container runs (rpcpool); separated by blanks
  --cmd WORDS              arguments of that by default (--help)
  --user UID:GID           as whom (65532:65532)
  --label NAME=VALUE       a label, for another one or instead of one of rpcpool's;
                           may be repeated. The version is the tag.
  --help                   print this

Environment:
  SOURCE_DATE_EPOCH        the time of everything in the image, in seconds since
                           1970 (0)

Exit status: 0 done, 1 failed, 2 wrong usage.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run executes the command line and returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	job, err := parse(args, getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "image: %v (see image --help)\n", err)
		return exitUsage
	}
	reference, err := job.do(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "image: %v\n", err)
		return exitFailed
	}
	fmt.Fprintln(stdout, reference)
	return exitOK
}

// job is what the command line asks for.
type job struct {
	recipe
	tag      name.Tag
	out      string
	push     bool
	sbom     string
	programs []string
}

// labels of the image of rpcpool, as in the Dockerfile, but for the version.
func defaultLabels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "rpcpool",
		"org.opencontainers.image.description": "Pools of fault-isolated RPC servers for Apache TVM clients",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

func parse(args []string, getenv func(string) string) (job, error) {
	j := job{recipe: recipe{labels: defaultLabels()}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	tag := flags.String("tag", "", "")
	flags.StringVar(&j.out, "out", "", "")
	flags.BoolVar(&j.push, "push", false, "")
	flags.StringVar(&j.sbom, "sbom", "", "")
	entrypoint := flags.String("entrypoint", "rpcpool", "")
	cmd := flags.String("cmd", "--help", "")
	flags.StringVar(&j.user, "user", "65532:65532", "")
	asked := make(map[string]string)
	flags.Func("label", "", func(s string) error {
		key, value, found := strings.Cut(s, "=")
		if !found || key == "" {
			return errors.New("want NAME=VALUE")
		}
		asked[key] = value
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return job{}, err //nolint:wrapcheck // it is the user's mistake, in flag's words
	}
	j.programs = flags.Args()
	switch {
	case len(j.programs) == 0:
		return job{}, errors.New("which programs?")
	case j.out == "" && !j.push:
		return job{}, errors.New("--out or --push: what is to be done with the image?")
	}
	var err error
	if j.tag, err = name.NewTag(*tag, name.StrictValidation); err != nil {
		return job{}, fmt.Errorf("--tag: want a full reference, such as registry.example.com/rpcpool:v0.1.0: %w", err)
	}
	if j.created, err = sourceDate(getenv("SOURCE_DATE_EPOCH")); err != nil {
		return job{}, err
	}
	j.entrypoint, j.cmd = strings.Fields(*entrypoint), strings.Fields(*cmd)
	j.labels["org.opencontainers.image.version"] = j.tag.TagStr()
	maps.Copy(j.labels, asked)
	return j, nil
}

func sourceDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// do makes the image and what belongs to it, and returns its reference.
func (j job) do(ctx context.Context) (string, error) {
	binaries, platform, err := readBinaries(j.programs)
	if err != nil {
		return "", err
	}
	image, err := j.build(binaries, platform)
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	if j.out != "" {
		err = writeFile(j.out, func(w io.Writer) error { return writeArchive(w, j.tag, image, j.created) })
	}
	if err == nil && j.sbom != "" {
		err = writeFile(j.sbom, func(w io.Writer) error { return writeBill(w, j.tag, digest, binaries) })
	}
	if err == nil && j.push {
		err = push(ctx, j.tag, image)
	}
	if err != nil {
		return "", err
	}
	return j.tag.String() + "@" + digest.String(), nil
}

func push(ctx context.Context, tag name.Tag, image v1.Image) error {
	if err := remote.Write(tag, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", tag, err)
	}
	return nil
}

// writeFile replaces a file, in one step, by what write writes.
func writeFile(path string, write func(io.Writer) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	err = write(temporary)
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
