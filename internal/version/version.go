// Package version tells which build of rpcpool this is.
//
// It owns no state: a crash loses nothing.
package version

import "runtime/debug"

// version is set by the linker in releases:
//
//	go build -ldflags "-X rpcpool.dev/internal/version.version=v0.1.0"
//
//nolint:gochecknoglobals // the linker can set nothing else
var version string

// Info describes a build.
type Info struct {
	Version   string // the release, else the module's version, else "devel"
	Revision  string // the commit; empty where the build did not record it
	GoVersion string
}

// Get returns what the linker or the Go tool recorded about this binary.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(version, build)
}

// String is one line: version, commit if known, Go version.
func (i Info) String() string {
	s := i.Version
	if i.Revision != "" {
		s += " (" + i.Revision + ")"
	}
	return s + " " + i.GoVersion
}

func describe(linked string, build *debug.BuildInfo) Info {
	info := Info{Version: linked, GoVersion: build.GoVersion}
	if info.Version == "" {
		info.Version = build.Main.Version
	}
	if info.Version == "" || info.Version == "(devel)" {
		info.Version = "devel"
	}
	modified := false
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified && info.Revision != "" {
		info.Revision += "-dirty"
	}
	return info
}
