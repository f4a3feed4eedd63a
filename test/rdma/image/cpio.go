//go:build linux

package image

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// archive writes the format that the kernel unpacks ("newc": the header is
// hexadecimal text, everything begins at a multiple of four). Directories are made as
// they are needed; links to directories come before what is in them.
type archive struct {
	out  io.Writer
	made map[string]bool
	ino  int
	err  error // the first
}

func newArchive(out io.Writer) *archive {
	return &archive{out: out, made: map[string]bool{}}
}

// file adds a regular file; perm is its permissions.
func (a *archive) file(name string, perm fs.FileMode, content []byte) {
	const regular = 0o100000
	a.parents(name)
	a.entry(name, regular|uint32(perm.Perm()), content)
}

// link adds a symbolic link.
func (a *archive) link(name, target string) {
	const link = 0o120777
	a.parents(name)
	a.entry(name, link, []byte(target))
}

// dir adds a directory, unless it is there.
func (a *archive) dir(name string) {
	const dir = 0o040755
	if name == "." || a.made[name] {
		return
	}
	a.parents(name)
	a.entry(name, dir, nil)
}

func (a *archive) parents(name string) { a.dir(path.Dir(name)) }

// close ends the archive, and returns the first error of all.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func (a *archive) entry(name string, mode uint32, content []byte) {
	a.made[name] = true
	a.ino++
	// ino, mode, uid, gid, links, mtime, size, device, device of a node, length of the name, checksum
	fields := []any{a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0}
	header := fmt.Sprintf("070701"+strings.Repeat("%08X", len(fields)), fields...) + name + "\x00"
	a.write([]byte(header))
	a.write(content)
}

// write pads what it writes to a multiple of four.
func (a *archive) write(content []byte) {
	for _, part := range [][]byte{content, make([]byte, -len(content)&3)} {
		if a.err == nil {
			_, a.err = a.out.Write(part)
		}
	}
}
