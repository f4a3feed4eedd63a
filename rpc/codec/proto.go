package codec

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Proto is the codec of protobuf messages.
type Proto struct{}

// ID returns [IDProto].
func (Proto) ID() uint8 { return IDProto }

// Name returns "proto".
func (Proto) Name() string { return "proto" }

// Append appends a proto.Message. Maps are sorted, so equal messages have equal
// bytes as long as both sides have one version of the protobuf library.
func (Proto) Append(dst []byte, v any) ([]byte, error) {
	m, err := message(v)
	if err != nil {
		return dst, err
	}
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("proto codec: encode %T: %w", v, err)
	}
	return out, nil
}

// Decode resets and fills a proto.Message.
func (Proto) Decode(data []byte, v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("proto codec: decode %T: %w", v, err)
	}
	return nil
}

func message(v any) (proto.Message, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("proto codec: %T is not a protobuf message", v)
	}
	if !m.ProtoReflect().IsValid() {
		return nil, fmt.Errorf("proto codec: %T is nil", v)
	}
	return m, nil
}
