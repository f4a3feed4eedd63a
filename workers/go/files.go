package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// registerFiles adds the functions by which TVM clients move files. All of
// them stay inside the session's work directory, symbolic links included.
func (s *Server) registerFiles() {
	for name, fn := range map[string]any{
		"tvm.rpc.server.upload":   upload,
		"tvm.rpc.server.download": download,
		"tvm.rpc.server.remove":   remove,
		"tvm.rpc.server.listdir":  listDir,
		"tvm.rpc.server.workpath": workPath,
	} {
		if err := s.Register(name, fn); err != nil {
			panic(err) // a signature above is wrong
		}
	}
}

var errNoWorkDir = errors.New("this worker has no work directory")

// inWorkDir runs do with the work directory and the name of a file in it.
func inWorkDir(s *Session, name string, do func(dir *os.Root, name string) error) error {
	if s.workDir == "" {
		return errNoWorkDir
	}
	if err := checkName(name); err != nil {
		return err
	}
	dir, err := os.OpenRoot(s.workDir)
	if err != nil {
		return fmt.Errorf("work directory: %w", err)
	}
	defer dir.Close() //nolint:errcheck // read only
	return do(dir, name)
}

// checkName gives the clear error; os.Root would catch what it misses.
func checkName(name string) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q is outside of the session's work directory", name)
	}
	return nil
}

func upload(s *Session, name string, data []byte) error {
	return inWorkDir(s, name, func(dir *os.Root, name string) error {
		if parent := filepath.Dir(name); parent != "." {
			if err := dir.MkdirAll(parent, 0o777); err != nil {
				return fmt.Errorf("upload %q: %w", name, err)
			}
		}
		if err := dir.WriteFile(name, data, 0o666); err != nil {
			return fmt.Errorf("upload %q: %w", name, err)
		}
		return nil
	})
}

func download(s *Session, name string) (data []byte, err error) {
	err = inWorkDir(s, name, func(dir *os.Root, name string) error {
		if data, err = dir.ReadFile(name); err != nil {
			return fmt.Errorf("download %q: %w", name, err)
		}
		return nil
	})
	return data, err
}

// remove removes a file or an empty directory. As on every TVM server, a file
// that is not there is no error, and neither is the empty name, by which
// MetaSchedule means to remove the whole directory: the supervisor does that.
func remove(s *Session, name string) error {
	if name == "" {
		return nil
	}
	return inWorkDir(s, name, func(dir *os.Root, name string) error {
		if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %q: %w", name, err)
		}
		return nil
	})
}

// listDir lists a directory, sorted and separated by commas; "" and "/" are
// the work directory itself.
func listDir(s *Session, path string) (string, error) {
	if path == "" || path == "/" {
		path = "."
	}
	var names []string
	err := inWorkDir(s, path, func(dir *os.Root, path string) error {
		entries, err := fs.ReadDir(dir.FS(), filepath.ToSlash(filepath.Clean(path)))
		if err != nil {
			return fmt.Errorf("list %q: %w", path, err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return nil
	})
	return strings.Join(names, ","), err
}

// workPath gives the absolute path of a file in the work directory.
func workPath(s *Session, name string) (string, error) {
	if s.workDir == "" {
		return "", errNoWorkDir
	}
	if name == "" {
		return s.workDir, nil
	}
	if err := checkName(name); err != nil {
		return "", err
	}
	return filepath.Join(s.workDir, name), nil
}
