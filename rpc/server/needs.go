package server

import (
	"github.com/cespare/xxhash/v2"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// supply puts the results of others into the arguments of a call that may start now. It
// returns false if it has refused the call.
func (c *Core) supply(t *turn, j *Job) bool {
	results, ok := c.domain.Results(j.entry, make([][]byte, 0, session.MaxNeeds))
	size := len(j.Args)
	for _, r := range results {
		size += len(r)
	}
	switch {
	case !ok:
		c.refuse(t, j, session.Unmet, 0, "a result that it needs is not kept any more")
		return false
	case size > c.opts.QueueBytes-c.queue.Depth().Bytes:
		c.refuse(t, j, session.Refused, 0, "server is busy: no room for the results that the call needs")
		return false
	}
	args, err := codec.Fill(make([]byte, 0, size), j.Codec, j.Args, results)
	if err != nil {
		c.refuse(t, j, session.Invalid, -1, "arguments: "+err.Error())
		return false
	}
	j.Args = args
	j.entry.Supplied(args, xxhash.Sum64(args))
	return true
}
