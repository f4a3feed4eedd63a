package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// pull reads from a registry without keeping connections.
func pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	digest, err := name.NewDigest(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(digest, remote.WithTransport(&http.Transport{DisableKeepAlives: true}))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestWhatIsPushedIsWhatIsPulled(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	tag := strings.TrimPrefix(server.URL, "http://") + "/team/rpcpool:v0.1.0"
	out := filepath.Join(t.TempDir(), "image.tar")
	paths := programs(t, "rpcpool")
	reference := made(t, "", append([]string{"--tag", tag, "--push"}, paths...)...)
	if archived := made(t, "", append([]string{"--tag", tag, "--out", out}, paths...)...); archived != reference {
		t.Errorf("%s was pushed, %s is in the archive", reference, archived)
	}
	image := pull(t, reference)
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(dockerfile(t, "v0.1.0"), config(t, image).Config); diff != "" {
		t.Errorf("configuration:\n%s", diff)
	}
}

func TestARegistryThatRefusesIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	tag := strings.TrimPrefix(server.URL, "http://") + "/rpcpool:v0.1.0"
	o := image("", append([]string{"--tag", tag, "--push"}, programs(t, "rpcpool")...)...)
	if o.status != exitFailed || !strings.Contains(o.stderr, "push "+tag) || o.stdout != "" {
		t.Errorf("%+v", o)
	}
}
