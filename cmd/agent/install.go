package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// installCommand is the first argument of a command line that copies programs
// instead of being the agent: what the init container of a device pod runs,
// whose image has neither cp nor a shell.
const installCommand = "install"

// programMode lets every user of the pod run what is installed.
const programMode = 0o755

// install copies the running program, and programs beside it by their names,
// into a directory. Who looks there finds a whole program or, until the first
// one is there, none.
func install(args []string) error {
	if len(args) == 0 {
		return usageError{errors.New("install: want a directory")}
	}
	dir, names := args[0], args[1:]
	for _, name := range names {
		if name == "" || name != filepath.Base(name) {
			return usageError{fmt.Errorf("install: %q is not the name of a program beside this one", name)}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := os.MkdirAll(dir, programMode); err != nil { //nolint:gosec // programs are for all
		return fmt.Errorf("install: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, path := range append([]string{self}, beside(self, names)...) {
		if err := installProgram(path, root); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	return nil
}

func beside(self string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(filepath.Dir(self), name)
	}
	return paths
}

// installProgram copies one program by way of a file of another name. One that
// is left over from a copy that was cut short is in the way of nobody.
func installProgram(path string, dir *os.Root) (err error) {
	source, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	name := filepath.Base(path)
	temporary := "." + name + ".new"
	if err := dir.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("in %s: %w", dir.Name(), err)
	}
	// Excl: whatever appears there now is not ours, least of all a link.
	target, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, programMode)
	if err != nil {
		return fmt.Errorf("in %s: %w", dir.Name(), err)
	}
	_, err = io.Copy(target, source)
	// Not by way of the umask, which is the runtime's. A full disk may show when
	// the file is closed.
	if err = errors.Join(err, target.Chmod(programMode), target.Close()); err == nil {
		err = dir.Rename(temporary, name)
	}
	if err != nil {
		_ = dir.Remove(temporary)
		return fmt.Errorf("copy %s to %s: %w", name, dir.Name(), err)
	}
	return nil
}

// usageError is the caller's mistake.
type usageError struct{ error }
