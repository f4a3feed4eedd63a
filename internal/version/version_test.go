package version

import (
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDescribe(t *testing.T) {
	build := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: version}, Settings: settings}
	}
	cases := map[string]struct {
		linked string
		build  *debug.BuildInfo
		want   string
	}{
		"a release names what the linker set":     {"v1.2.3", build("(devel)"), "v1.2.3 go1.26.0"},
		"go install names the module's version":   {"", build("v0.9.0"), "v0.9.0 go1.26.0"},
		"a plain build is devel":                  {"", build("(devel)"), "devel go1.26.0"},
		"a build without information is devel":    {"", &debug.BuildInfo{}, "devel "},
		"the commit is shortened":                 {"", build("", debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}), "devel (0123456789ab) go1.26.0"},
		"a changed tree says so":                  {"", build("", debug.BuildSetting{Key: "vcs.revision", Value: "0123"}, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "devel (0123-dirty) go1.26.0"},
		"a changed tree without commit says none": {"", build("", debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "devel go1.26.0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := describe(tc.linked, tc.build).String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if Get().GoVersion == "" {
		t.Error("this binary does not know its Go version")
	}
}
