package client

import (
	"context"
	"fmt"
	"strings"
)

// Global functions by which every TVM server moves files.
const (
	uploadFunc   = "tvm.rpc.server.upload"
	downloadFunc = "tvm.rpc.server.download"
	removeFunc   = "tvm.rpc.server.remove"
	listFunc     = "tvm.rpc.server.listdir"
)

// Upload writes a file in the session's work directory.
func (s *Session) Upload(ctx context.Context, name string, data []byte) error {
	_, err := s.Call(ctx, uploadFunc, name, data)
	return err
}

// Download reads a file of the session's work directory.
func (s *Session) Download(ctx context.Context, name string) ([]byte, error) {
	result, err := s.Call(ctx, downloadFunc, name)
	if err != nil {
		return nil, err
	}
	data, ok := result.([]byte)
	if !ok {
		return nil, fmt.Errorf("download %q: server returned a %T", name, result)
	}
	return data, nil
}

// Remove removes a file of the session's work directory.
func (s *Session) Remove(ctx context.Context, name string) error {
	_, err := s.Call(ctx, removeFunc, name)
	return err
}

// ListDir lists the session's work directory. Stock Python servers cannot;
// they have no such function ([ErrNoFunction]).
func (s *Session) ListDir(ctx context.Context) ([]string, error) {
	result, err := s.Call(ctx, listFunc, "")
	if err != nil {
		return nil, err
	}
	text, ok := result.(string)
	if !ok {
		return nil, fmt.Errorf("list directory: server returned a %T", result)
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' }), nil
}
