package builtin

import (
	"strings"
	"testing"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

func TestTheMethodsTakeWhatIsTheirsAndNothingElse(t *testing.T) {
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	methods, err := Methods()
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]server.Run{}
	for _, m := range methods {
		run[m.Name] = m.Run
	}
	for _, c := range []struct {
		name, method string
		args, want   any
		code         session.Code
		says         string
	}{
		{"a text of a number", "snprintf", []any{64, "The answer is %d", 42}, "The answer is 42", session.OK, ""},
		{"a text that is cut", "snprintf", []any{3, "abcdef"}, "abc", session.OK, ""},
		{"no list", "snprintf", 5, nil, session.Invalid, "[size, format, value…]"},
		{"a size that is a text", "snprintf", []any{"64", "x"}, nil, session.Invalid, "want a size"},
		{"a size that is too large", "snprintf", []any{maxText + 1, "x"}, nil, session.Invalid, "want a size"},
		{"no sleep", "sleep", 0, nil, session.OK, ""},
		{"a short one", "sleep", 0.001, nil, session.OK, ""},
		{"a negative one", "sleep", -1, nil, session.Invalid, "seconds"},
		{"one of a text", "sleep", "1", nil, session.Invalid, "seconds"},
		{"a way to crash that is none", "crash", "slowly", nil, session.Invalid, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, err := codecs.CBOR().Append(nil, c.args)
			if err != nil {
				t.Fatal(err)
			}
			code, reply := run[c.method](&server.Job{Codec: codec.IDCBOR, Args: args})
			if code != c.code {
				t.Fatalf("%v %q, want %v", code, reply, c.code)
			}
			if code != session.OK {
				if _, text, _ := wire.ParseFailure(reply); !strings.Contains(text, c.says) {
					t.Errorf("it says %q", text)
				}
				return
			}
			var got any
			if err := codecs.CBOR().Decode(reply, &got); err != nil || got != c.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	if code, reply := run["echo"](&server.Job{Args: []byte("as it is")}); code != session.OK || string(reply) != "as it is" {
		t.Errorf("%v %q", code, reply)
	}
	for name, j := range map[string]*server.Job{"another codec": {Codec: codec.IDProto}, "bytes that are no CBOR": {Codec: codec.IDCBOR, Args: []byte{0xff}}} {
		if code, _ := run["sleep"](j); code != session.Invalid {
			t.Errorf("%s: %v", name, code)
		}
	}
}
