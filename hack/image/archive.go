package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// blob is a file of an archive.
type blob struct {
	name    string
	content []byte
}

// writeArchive writes an image as an OCI layout in a tar, with the manifest.json of
// a Docker archive that names the same blobs.
func writeArchive(w io.Writer, tag name.Tag, image v1.Image, at time.Time) error {
	blobs, err := imageBlobs(image)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	index, err := ociIndex(tag, image)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	manifest, err := dockerManifest(tag, image)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	blobs = append(blobs,
		blob{"index.json", index},
		blob{"manifest.json", manifest},
		blob{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)})
	archive := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: at}); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	for _, b := range blobs {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: b.name, Mode: 0o644, Size: int64(len(b.content)), ModTime: at}); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if _, err := archive.Write(b.content); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	return archive.Close() //nolint:wrapcheck // says what is wrong
}

// blobName is where a blob is in an OCI layout.
func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// imageBlobs are an image's layers, configuration and manifest.
func imageBlobs(image v1.Image) ([]blob, error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller, as all of them
	}
	var blobs []blob
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return nil, err //nolint:wrapcheck // see above
		}
		packed, err := layer.Compressed()
		if err != nil {
			return nil, err //nolint:wrapcheck // see above
		}
		content, err := io.ReadAll(packed)
		_ = packed.Close()
		if err != nil {
			return nil, err //nolint:wrapcheck // see above
		}
		blobs = append(blobs, blob{blobName(digest), content})
	}
	for _, part := range []func() ([]byte, error){image.RawConfigFile, image.RawManifest} {
		content, err := part()
		if err != nil {
			return nil, err //nolint:wrapcheck // see above
		}
		digest, _, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			return nil, err //nolint:wrapcheck // see above
		}
		blobs = append(blobs, blob{blobName(digest), content})
	}
	return blobs, nil
}

// ociIndex is index.json: the image, with its names. containerd goes by the first,
// the whole reference; the specification's is but the tag.
func ociIndex(tag name.Tag, image v1.Image) ([]byte, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	size, err := image.Size()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	return json.Marshal(v1.IndexManifest{ //nolint:wrapcheck // by the caller
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    digest,
			Size:      size,
			Platform:  config.Platform(),
			Annotations: map[string]string{
				"io.containerd.image.name":          tag.String(),
				"org.opencontainers.image.ref.name": tag.TagStr(),
			},
		}},
	})
}

// dockerManifest is manifest.json.
func dockerManifest(tag name.Tag, image v1.Image) ([]byte, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	d := tarball.Descriptor{Config: blobName(manifest.Config.Digest), RepoTags: []string{tag.String()}}
	for _, layer := range manifest.Layers {
		d.Layers = append(d.Layers, blobName(layer.Digest))
	}
	return json.Marshal(tarball.Manifest{d}) //nolint:wrapcheck // by the caller
}
