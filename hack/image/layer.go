package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// binDir is where programs are, the image's PATH.
const binDir = "usr/local/bin/"

// directories of the image, parents first.
func directories() []tar.Header {
	return []tar.Header{
		{Name: "tmp/", Mode: 0o1777},
		{Name: "usr/", Mode: 0o755},
		{Name: "usr/local/", Mode: 0o755},
		{Name: binDir, Mode: 0o755},
	}
}

// newLayer puts programs into a layer. It depends on nothing but their names and
// bytes, and on the time.
func newLayer(binaries []binary, at time.Time) (v1.Layer, error) {
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, dir := range directories() {
		dir.Typeflag, dir.ModTime = tar.TypeDir, at
		if err := w.WriteHeader(&dir); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
	}
	byName := slices.SortedFunc(slices.Values(binaries), func(a, b binary) int { return cmp.Compare(a.name, b.name) })
	for _, b := range byName {
		header := tar.Header{Typeflag: tar.TypeReg, Name: binDir + b.name, Mode: 0o755, Size: int64(len(b.content)), ModTime: at}
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		if _, err := w.Write(b.content); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return layer, nil
}
