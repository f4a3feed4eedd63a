package codec

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// TagResult is the CBOR tag of a place in arguments to which the result of another call
// belongs: "RPCR" in ASCII. What is tagged says what that is: null, an item of CBOR; an empty
// byte string, bytes, which become a byte string.
const TagResult = 0x52504352

// placeLen is the length of such a place: head of the tag, and what is tagged.
const placeLen = 6

const (
	placeItem  = 0xf6
	placeBytes = 0x40
)

// AppendPlace appends a place for a result.
func AppendPlace(dst []byte, bytes bool) []byte {
	what := byte(placeItem)
	if bytes {
		what = placeBytes
	}
	return append(dst, 0xda, TagResult>>24, TagResult>>16&255, TagResult>>8&255, TagResult&255, what)
}

var (
	errPlace  = errors.New("malformed place for a result")
	errPlaces = errors.New("places for results are not as many as the results")
)

// Fill appends arguments with the results of other calls at their places: the n-th result at the
// n-th place. Arguments of no bytes are the result, the only one, as it is; others are CBOR,
// of whichever codec the results are.
func Fill(dst []byte, id uint8, args []byte, results [][]byte) ([]byte, error) {
	if len(args) == 0 {
		if len(results) != 1 {
			return dst, errPlaces
		}
		return append(dst, results[0]...), nil
	}
	if id != IDCBOR {
		return dst, fmt.Errorf("codec %d has no places for results", id)
	}
	start := len(dst)
	for from := 0; ; {
		at, err := Place(args, from)
		switch {
		case err != nil:
			return dst[:start], err
		case at < 0 && len(results) > 0, at >= 0 && len(results) == 0:
			return dst[:start], errPlaces
		case at < 0:
			return append(dst, args[from:]...), nil
		}
		dst = append(dst, args[from:at]...)
		if dst, err = appendResult(dst, args[at+placeLen-1], results[0]); err != nil {
			return dst[:start], err
		}
		from, results = at+placeLen, results[1:]
	}
}

// appendResult appends what comes to a place.
func appendResult(dst []byte, what byte, result []byte) ([]byte, error) {
	switch what {
	case placeItem:
		if err := cbor.Wellformed(result); err != nil {
			return dst, fmt.Errorf("result that is to be an item: %w", err)
		}
		return append(dst, result...), nil
	case placeBytes:
		return append(appendHead(dst, 2, uint64(len(result))), result...), nil
	}
	return dst, errPlace
}

// Place finds the next place in CBOR, from the begin of an item on; -1: there is none.
func Place(b []byte, from int) (at int, err error) {
	for at = from; at < len(b); {
		arg, head := argument(b[at:])
		if head == 0 {
			return -1, errPlace
		}
		switch major := b[at] >> 5; {
		case major == 6 && arg == TagResult:
			if head != placeLen-1 || len(b)-at < placeLen {
				return -1, errPlace
			}
			return at, nil
		case major == 2 || major == 3:
			if arg > uint64(len(b)-at-head) {
				return -1, errPlace
			}
			head += int(arg)
		}
		at += head
	}
	return -1, nil
}

// appendHead appends the head of an item, as short as it can be.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(dst, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
