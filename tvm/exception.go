package tvm

import "encoding/binary"

// SessionTimeoutPrefix starts the text of an exception that clients of v0.13
// and later raise as RPCSessionTimeoutError.
const SessionTimeoutPrefix = "RPCSessionTimeoutError: "

// AppendException appends a complete kException packet, length included, as a
// supervisor writes it in place of a worker that it has killed. FlavourAuto is
// taken for [FlavourC]: B and C are the same here. Stock clients show the text
// only up to its first NUL.
func AppendException(dst []byte, f Flavour, text string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = appendI32(dst, int32(RPCException))
	dst = appendExceptionBody(dst, f, text)
	binary.LittleEndian.PutUint64(dst[start:], uint64(len(dst)-start-PacketHeader))
	return dst
}

// appendExceptionBody appends a sequence of one string, for which A's layout
// and that of B and C differ only in the type code.
func appendExceptionBody(dst []byte, f Flavour, text string) []byte {
	code := indexStr
	if f == FlavourA {
		code = codeAStr
	}
	dst = appendI32(appendI32(dst, 1), code)
	return append(appendU64(dst, uint64(len(text))), text...)
}
