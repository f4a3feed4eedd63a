package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recipe is how programs become an image.
type recipe struct {
	entrypoint, cmd []string
	user            string // UID:GID
	labels          map[string]string
	created         time.Time // of the image and all that is in it
}

// build makes the image of programs for a platform.
func (r recipe) build(binaries []binary, platform v1.Platform) (v1.Image, error) {
	if err := r.check(binaries); err != nil {
		return nil, err
	}
	layer, err := newLayer(binaries, r.created)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err = mutate.ConfigFile(base, r.config(platform))
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	history := v1.History{Created: v1.Time{Time: r.created}, CreatedBy: "rpcpool.dev/hack/image"}
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: history})
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return image, nil
}

func (r recipe) config(platform v1.Platform) *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: platform.Architecture,
		OS:           platform.OS,
		Created:      v1.Time{Time: r.created},
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
		Config: v1.Config{
			User:       r.user,
			Env:        []string{"PATH=/" + path.Clean(binDir)},
			Entrypoint: r.entrypoint,
			Cmd:        r.cmd,
			WorkingDir: "/",
			Labels:     r.labels,
		},
	}
}

// check refuses an image that could not start.
func (r recipe) check(binaries []binary) error {
	words := slices.Concat(r.entrypoint, r.cmd)
	if len(words) == 0 {
		return nil // started by name, then
	}
	program := words[0]
	if slices.ContainsFunc(binaries, func(b binary) bool { return program == b.name || program == "/"+binDir+b.name }) {
		return nil
	}
	names := make([]string, 0, len(binaries))
	for _, b := range binaries {
		names = append(names, b.name)
	}
	return fmt.Errorf("entry point %q is not among the programs: %s (--entrypoint names one)", program, strings.Join(names, ", "))
}
