package frame

import "testing"

func FuzzParseFence(f *testing.F) {
	f.Add((&Fence{Version: 1, Last: 9, Open: []uint64{4, 9}}).Append(nil))
	f.Add((&Fence{Last: 3, Open: []uint64{4}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseFence(b)
		if err != nil {
			typed(t, err)
			return
		}
		if len(x.Open) > MaxOpenCalls {
			t.Fatalf("%d calls are open", len(x.Open))
		}
		same(t, b, x.Append(nil))
	})
}

func FuzzParseRenewed(f *testing.F) {
	f.Add(Renewed(5).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseRenewed(b)
		if err != nil {
			typed(t, err)
			return
		}
		same(t, b, x.Append(nil))
	})
}

func FuzzParseBlobGrant(f *testing.F) {
	f.Add(make([]byte, BlobGrantLen))
	f.Add(make([]byte, BlobGrantLen+8))
	f.Fuzz(func(t *testing.T, b []byte) {
		handle, least, err := ParseBlobGrant(b)
		if err != nil {
			typed(t, err)
			return
		}
		if len(handle) != BlobGrantLen || least != 0 && len(b) == BlobGrantLen {
			t.Fatalf("a handle of %d bytes, %d", len(handle), least)
		}
		same(t, b[:BlobGrantLen], handle)
	})
}

func FuzzParseBlobOffer(f *testing.F) {
	f.Add((&BlobOffer{Domain: [16]byte{1}, Ticket: [16]byte{2}, Least: 3, Socket: "/run/s"}).Append(nil))
	f.Add((&BlobOffer{Socket: "\xff"}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseBlobOffer(b)
		if err != nil {
			typed(t, err)
			return
		}
		same(t, b, x.Append(nil))
	})
}
