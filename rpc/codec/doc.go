// Package codec turns the arguments and results of calls into the bodies of
// messages and back.
//
//	Go type                          codec   id   body
//	[]byte                           raw     0    the bytes
//	proto.Message                    proto   1    protobuf, fields in order
//	everything else                  CBOR    2    RFC 8949, core deterministic
//	["name", arg, arg…], no Go type  CBOR    2    a call by name: [Call]
//
// The ids are on the wire, in the codec field of a frame's header; bit n of
// HELLO's codecs is codec n.
//
// A [Codecs] is made once, owned by a client or a server, and may be used by
// many goroutines. It keeps what it has found out about types, and nothing else:
// a crash loses nothing here.
//
// # Types
//
//	registration            each call
//	────────────            ─────────
//	For(type) ──▶ codec ──▶ Append ──▶ bytes ──▶ Decode
//	   │                      │                    │
//	   └▶ *TypeError          └▶ ErrCycle          └▶ malformed, duplicate key,
//	      with the field         ErrNesting           too deep, too many items
//
// Channels, functions, unsafe pointers and the like are refused when a type is
// first seen ([Codecs.For]), with the path to the field. An interface with
// methods needs the concrete types that it may hold ([Options]). A field of type
// any may hold whatever a message may hold; what it holds is checked when it is
// sent. Recursive types are fine if there is a struct in the circle; a value that
// contains itself is an error.
//
// Fields have the names of their cbor or json tags, and are matched exactly;
// fields that the receiver does not know are skipped.
//
// # CBOR
//
// Equal values have equal bytes, so that arguments can be compared by a hash:
// shortest integers and floats, sorted keys, definite lengths. Times are text
// with nanoseconds and zone (tag 0, years 1 to 9999; the zero time is null),
// integers beyond 64 bits are bignums (tags 2 and 3). Nil slices, maps and
// pointers are null. Strings must be UTF-8: the receiver refuses others.
//
// Keys of maps are text, integers, bytes or booleans, and none is there twice.
//
// Decoded into an any, an integer is an int64, or a big.Int if it is longer; a
// float is a float64, a map a map[any]any, a tag that is not known a cbor.Tag.
//
// A reference to a blob is a byte string with the tag [TagBlob]; what is in it
// is for the package that hands out blobs.
package codec
