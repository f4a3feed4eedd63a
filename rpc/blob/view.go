package blob

// View is access to bytes of a blob, for a while: until Close.
type View interface {
	Bytes() []byte
	Close() error
}
