package frame

import (
	"strings"
	"testing"
)

func TestAnOfferOfBlobsComesBack(t *testing.T) {
	for _, socket := range []string{"", "@blobs", strings.Repeat("s", maxBlobSocket)} {
		want := BlobOffer{Domain: [16]byte{1}, Ticket: [16]byte{2}, Least: 1 << 40, Socket: socket}
		if got, err := ParseBlobOffer(want.Append(nil)); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for name, bad := range map[string][]byte{
		"cut off":   make([]byte, blobOfferFixed-1),
		"too long":  make([]byte, blobOfferFixed+maxBlobSocket+1),
		"not UTF-8": append(make([]byte, blobOfferFixed), 0xff),
	} {
		if _, err := ParseBlobOffer(bad); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

func TestAMessageHasSoManyBlobs(t *testing.T) {
	for _, n := range []uint8{1, MaxBlobs} {
		e := Ext{Method: 7, Blobs: n}
		if got, err := ParseExt(e.Append(nil)); err != nil || got.Blobs != n {
			t.Errorf("%d blobs: %+v, %v", n, got, err)
		}
	}
	for name, value := range map[string][]byte{"none": {extBlobs, 1, 0}, "too many": {extBlobs, 1, MaxBlobs + 1}, "two bytes": {extBlobs, 2, 1, 0}} {
		area := append(value, make([]byte, extUnit-len(value))...)
		if _, err := ParseExt(area); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
