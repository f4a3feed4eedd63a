package rdma

import (
	"encoding/binary"
	"math/bits"

	"rpcpool.dev/rpc/rdma/verbs"
)

// OfferLen is the length of an encoded offer, bytes.
const OfferLen = 52

const offerFormat = 1

// What a port is linked to, and how its peers reach it.
const (
	infiniband byte = iota
	ethernet
	infinibandByGID
)

// offer is what a peer needs to know of an endpoint to connect to it.
type offer struct {
	adapter  AdapterID
	gid      verbs.GID
	lid      uint16
	number   uint32 // of the queue pair: 24 bits
	psn      uint32 // 24 bits
	mtu      int    // bytes
	served   int    // READs of the peer that are served at the same time; 0: it may not read
	ethernet bool
	global   bool // of InfiniBand: by the LID alone it is not reached
}

// append appends the encoded offer.
//
//	format 1 │ 0 InfiniBand, 1 Ethernet, 2 InfiniBand by GID │ MTU u16 │ served u16 │ LID u16 │ number u32 │ PSN u32 │ GID 16 │ adapter 16 │ 0 u32
func (o offer) append(dst []byte) []byte {
	link := infiniband
	switch {
	case o.ethernet:
		link = ethernet
	case o.global:
		link = infinibandByGID
	}
	dst = append(dst, offerFormat, link)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(o.mtu))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(o.served))
	dst = binary.LittleEndian.AppendUint16(dst, o.lid)
	dst = binary.LittleEndian.AppendUint32(dst, o.number)
	dst = binary.LittleEndian.AppendUint32(dst, o.psn)
	dst = append(dst, o.gid[:]...)
	dst = append(dst, o.adapter[:]...)
	return binary.LittleEndian.AppendUint32(dst, 0)
}

// parseOffer decodes what append has encoded. It fails with [Malformed].
func parseOffer(b []byte) (offer, error) {
	if len(b) != OfferLen {
		return offer{}, failure(Malformed, "offer of %d bytes", len(b))
	}
	if b[0] != offerFormat || b[1] > infinibandByGID || binary.LittleEndian.Uint32(b[48:]) != 0 {
		return offer{}, failure(Malformed, "offer begins with %x, ends with %x", b[:2], b[48:])
	}
	o := offer{
		ethernet: b[1] == ethernet, global: b[1] == infinibandByGID, mtu: int(binary.LittleEndian.Uint16(b[2:])), served: int(binary.LittleEndian.Uint16(b[4:])),
		lid: binary.LittleEndian.Uint16(b[6:]), number: binary.LittleEndian.Uint32(b[8:]), psn: binary.LittleEndian.Uint32(b[12:]),
		gid: verbs.GID(b[16:]), adapter: AdapterID(b[32:]),
	}
	switch {
	case o.mtu < 256 || o.mtu > 4096 || bits.OnesCount(uint(o.mtu)) != 1:
		return offer{}, failure(Malformed, "offer with an MTU of %d", o.mtu)
	case o.number >= 1<<24 || o.psn >= 1<<24:
		return offer{}, failure(Malformed, "offer of queue pair %d, PSN %d", o.number, o.psn)
	case (o.ethernet || o.global) && o.gid == verbs.GID{}, o.adapter == AdapterID{}:
		return offer{}, failure(Malformed, "offer without an address")
	}
	return o, nil
}
