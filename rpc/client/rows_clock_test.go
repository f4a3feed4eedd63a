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

// place is a pointer's value: one to a struct, and one to its first field, are two.
type place struct {
	at uintptr
	of reflect.Type
}

// reach visits every struct that is reached from v by what is this module's. visit tells whether
// to look into it.
func reach(v reflect.Value, path string, seen map[place]bool, visit func(path string, s reflect.Value) bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		if v.IsNil() || seen[place{v.Pointer(), v.Type()}] {
			return
		}
		seen[place{v.Pointer(), v.Type()}] = true
		if v.Kind() == reflect.Pointer {
			reach(v.Elem(), path, seen, visit)
			return
		}
		for _, key := range v.MapKeys() {
			reach(key, path+"[key]", seen, visit)
			reach(v.MapIndex(key), path+"[]", seen, visit)
		}
	case reflect.Interface:
		reach(v.Elem(), path, seen, visit)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			reach(v.Index(i), path+"[]", seen, visit)
		}
	case reflect.Struct:
		if !visit(path, v) {
			return
		}
		if p := v.Type().PkgPath(); p != "" && !strings.HasPrefix(p, "rpcpool.dev/") && !strings.HasPrefix(p, "sync") {
			return
		}
		for i := range v.NumField() {
			reach(v.Field(i), path+"."+v.Type().Field(i).Name, seen, visit)
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
		reach(reflect.ValueOf(v), name, map[place]bool{}, func(path string, at reflect.Value) bool {
			if at.Type() != reflect.TypeFor[time.Time]() {
				return true
			}
			wall, ext := at.Field(0).Uint(), at.Field(1).Int()
			if wall == 0 && ext == 0 {
				return false
			}
			if found[path] = wall>>63 == 1; !found[path] {
				t.Errorf("%s is of the wall clock", path)
			}
			return false
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
