package tvm

import "strconv"

// RPCCode is the first field of a packet's body.
type RPCCode int32

// All RPC codes, as of v0.7 and later. Those from [RPCGetGlobalFunc] on are
// system calls.
const (
	RPCNone                  RPCCode = 0
	RPCShutdown              RPCCode = 1
	RPCInitServer            RPCCode = 2
	RPCCallFunc              RPCCode = 3
	RPCReturn                RPCCode = 4
	RPCException             RPCCode = 5
	RPCCopyFromRemote        RPCCode = 6
	RPCCopyToRemote          RPCCode = 7
	RPCCopyAck               RPCCode = 8
	RPCGetGlobalFunc         RPCCode = 9
	RPCFreeHandle            RPCCode = 10
	RPCDevSetDevice          RPCCode = 11
	RPCDevGetAttr            RPCCode = 12
	RPCDevAllocData          RPCCode = 13
	RPCDevFreeData           RPCCode = 14
	RPCDevStreamSync         RPCCode = 15
	RPCCopyAmongRemote       RPCCode = 16
	RPCDevAllocDataWithScope RPCCode = 17 // since v0.8
	RPCDevCreateStream       RPCCode = 18 // since v0.8
	RPCDevFreeStream         RPCCode = 19 // since v0.8
	RPCDevSetStream          RPCCode = 20 // since v0.8
	RPCDevGetCurrentStream   RPCCode = 21 // since v0.16
)

// IsSyscall tells whether c is a known system call.
func (c RPCCode) IsSyscall() bool {
	return c >= RPCGetGlobalFunc && c <= RPCDevGetCurrentStream
}

// String returns the code's name as TVM spells it, such as "kCallFunc".
func (c RPCCode) String() string {
	names := [...]string{
		"kNone", "kShutdown", "kInitServer", "kCallFunc", "kReturn", "kException", "kCopyFromRemote", "kCopyToRemote",
		"kCopyAck", "kGetGlobalFunc", "kFreeHandle", "kDevSetDevice", "kDevGetAttr", "kDevAllocData", "kDevFreeData",
		"kDevStreamSync", "kCopyAmongRemote", "kDevAllocDataWithScope", "kDevCreateStream", "kDevFreeStream",
		"kDevSetStream", "kDevGetCurrentStream",
	}
	if c < 0 || int(c) >= len(names) {
		return "RPCCode(" + strconv.Itoa(int(c)) + ")"
	}
	return names[c]
}
