package verbs

import "fmt"

// Status is how a READ has ended: libibverbs' enum ibv_wc_status.
type Status uint32

// The statuses. Those that no reliable connected queue pair can have are there, too: a
// driver may be wrong.
const (
	Success Status = iota
	LocalLength
	LocalQueue
	LocalContext
	LocalProtection
	Flushed
	WindowBind
	BadResponse
	LocalAccess
	RemoteRequest
	RemoteAccess
	RemoteOperation
	RetriesExceeded
	ReceiverRetriesExceeded
	LocalDomain
	RemoteDomain
	RemoteAbort
	ContextNumber
	ContextState
	Fatal
	ResponseTimeout
	General
	TagMatching
	TagRendezvous
	Statuses // how many there are
)

// names are libibverbs' own, for whoever looks for them.
var names = [Statuses]string{
	"SUCCESS", "LOC_LEN_ERR", "LOC_QP_OP_ERR", "LOC_EEC_OP_ERR", "LOC_PROT_ERR", "WR_FLUSH_ERR", "MW_BIND_ERR",
	"BAD_RESP_ERR", "LOC_ACCESS_ERR", "REM_INV_REQ_ERR", "REM_ACCESS_ERR", "REM_OP_ERR", "RETRY_EXC_ERR",
	"RNR_RETRY_EXC_ERR", "LOC_RDD_VIOL_ERR", "REM_INV_RD_REQ_ERR", "REM_ABORT_ERR", "INV_EECN_ERR",
	"INV_EEC_STATE_ERR", "FATAL_ERR", "RESP_TIMEOUT_ERR", "GENERAL_ERR", "TM_ERR", "TM_RNDV_INCOMPLETE",
}

// String is the status's name in libibverbs, without IBV_WC_.
func (s Status) String() string {
	if s < Statuses {
		return names[s]
	}
	return fmt.Sprintf("status %d", uint32(s))
}
