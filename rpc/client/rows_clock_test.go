package client

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// times visits every time.Time that is reached from v by what is this module's.
func times(v reflect.Value, path string, seen map[uintptr]bool, visit func(path string, t reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		if v.Kind() == reflect.Pointer {
			times(v.Elem(), path, seen, visit)
			return
		}
		for _, key := range v.MapKeys() {
			times(key, path+"[key]", seen, visit)
			times(v.MapIndex(key), path+"[]", seen, visit)
		}
	case reflect.Interface:
		times(v.Elem(), path, seen, visit)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			times(v.Index(i), path+"[]", seen, visit)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			visit(path, v)
			return
		}
		if p := v.Type().PkgPath(); p != "" && !strings.HasPrefix(p, "rpcpool.dev/") && !strings.HasPrefix(p, "sync") {
			return
		}
		for i := range v.NumField() {
			times(v.Field(i), path+"."+v.Type().Field(i).Name, seen, visit)
		}
	}
}

// A step of CLOCK_REALTIME changes nothing: all that is kept between two looks at a clock has
// been read from the monotonic one, too, which is what the difference of two such times is of;
// and what two processes tell each other is how much is left.
func TestC27_AStepOfTheWallClockMattersToNobody(t *testing.T) {
	if raced {
		t.Skip("it looks at everything without a lock")
	}
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	c := newClient(t, quick(), h.endpoint())
	ask(soon(t), c, "do", "x").is(t, session.OK, session.Executed)
	ctx, cancel := context.WithTimeout(soon(t), time.Hour)
	defer cancel()
	ended := make(chan *Call, 1)
	c.Start(ctx, &Call{Method: "wait", Args: []byte("y")}, func(u *Call) { ended <- u })
	<-g.entered
	found := map[string]bool{}
	look := func(name string, v any) {
		times(reflect.ValueOf(v), name, map[uintptr]bool{}, func(path string, at reflect.Value) {
			wall, ext := at.Field(0).Uint(), at.Field(1).Int()
			if wall == 0 && ext == 0 {
				return
			}
			if found[path] = wall>>63 == 1; !found[path] {
				t.Errorf("%s is of the wall clock", path)
			}
		})
	}
	look("client", c)
	look("core", h.core)
	look("server", h.net)
	close(g.open)
	(<-ended).is(t, session.OK, session.Executed)
	t.Log(found)
	for _, kept := range []string{"client.start0", ".tallies.zero", "].start"} {
		has := false
		for path := range found {
			has = has || strings.HasSuffix(path, kept)
		}
		if !has {
			t.Errorf("%s is not seen", kept)
		}
	}
}

// wallClock is how one gets at the wall clock, or loses the monotonic one.
var wallClock = regexp.MustCompile(`\.Unix(Nano|Micro|Milli)?\(\)|\.Round\(0\)|\.UTC\(\)|time\.Date\(`)

func TestC27_NobodyLooksAtTheWallClock(t *testing.T) {
	files := 0
	for _, dir := range []string{"client", "conn", "frame", "journal", "naming", "registry", "schedule", "server", "session", "wire", "workers", "workers/direct"} {
		names, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if found := wallClock.Find(text); found != nil {
				t.Errorf("%s: %s", name, found)
			}
			files++
		}
	}
	if files < 100 {
		t.Errorf("%d files", files)
	}
}
