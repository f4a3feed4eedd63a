package client

// budget bounds how many calls that a server has refused are tried at another: in a
// service that is overloaded, more attempts make it worse. The figures are gRPC's (A6):
// ten tokens, one less for a refusal, a tenth more for a success, none under half. A server that is known to refuse
// calls says nothing of the service, if there is another that does not: what waited there when it began to drain goes on.
type budget struct{ tenths int }

const budgetFull = 100

func newBudget() budget { return budget{budgetFull} }

func (b *budget) success() { b.tenths = min(b.tenths+1, budgetFull) }

// retry takes a token, and tells whether another attempt may be made.
func (b *budget) retry() bool {
	b.tenths = max(b.tenths-10, 0)
	return b.tenths > budgetFull/2
}
